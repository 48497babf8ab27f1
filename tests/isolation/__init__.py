"""Tenants cannot see each other: checked for every route and every command, and row by row in the database."""
