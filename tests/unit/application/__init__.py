"""Tests of the use cases, against a ledger in memory."""
