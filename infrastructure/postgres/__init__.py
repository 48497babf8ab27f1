"""The adapters for PostgreSQL. psycopg is imported nowhere else."""
