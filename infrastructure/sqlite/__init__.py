"""The adapters for SQLite. sqlite3 is imported nowhere else."""
