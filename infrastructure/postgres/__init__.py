"""The adapters for PostgreSQL. psycopg is imported nowhere else.

A `PERSISTENCE_MODULE` of the eventsourcing library: `Factory` is the one factory in it.
"""

from .factory import Factory

__all__ = ["Factory"]
