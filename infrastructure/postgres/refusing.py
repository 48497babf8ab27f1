"""Rows that PostgreSQL does not take, told apart from trouble of the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import DataError, IntegrityError, errors

from jobledger.projections.fitting import RowRefused

from .driver_errors import one_line

_REFUSED = (DataError, IntegrityError, errors.ProgramLimitExceeded)
"""SQLSTATE classes 22 and 23, and texts that are too long for an index. What the server says of them in its first line
names types, columns and constraints, never a value."""


@contextmanager
def refusing() -> Iterator[None]:
    """Raises what PostgreSQL says of a row that it does not take as `RowRefused`; all else is its own trouble."""
    try:
        yield
    except _REFUSED as error:
        raise RowRefused(f"PostgreSQL refused a row: {one_line(error)}") from error
