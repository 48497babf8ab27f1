"""How values of ours are stored in SQLite: ids as 16 bytes, times as microseconds since 1970 in UTC.

Both sort as the values do, and both come back exactly as they were.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """A time as it is stored. Aware datetimes only: a naive one raises `TypeError`."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(stored: int) -> datetime:
    """A stored time, in UTC."""
    return _EPOCH + timedelta(microseconds=stored)


def optional_microseconds(at: datetime | None) -> int | None:
    """A time as it is stored, or None."""
    return None if at is None else microseconds(at)


def optional_moment(stored: int | None) -> datetime | None:
    """A stored time, or None."""
    return None if stored is None else moment(stored)


def database_now() -> int:
    """The database's clock in microseconds: SQLite runs in this process, and its own `now` ends at milliseconds."""
    return time.time_ns() // 1_000
