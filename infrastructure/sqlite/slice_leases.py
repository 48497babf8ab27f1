"""Who works on which slice of a rebuild.

SQLite has no locks that die with a process. A slice is leased: to its owner until a time, which each batch moves on, or
until its process is seen to be dead, where it ran on this machine. Whether the lease holds only decides who does the
work: what is stored is decided by compare-and-set of the slice, so two who work on the same store it once.
"""

from __future__ import annotations

from sqlite3 import Connection
from typing import NamedTuple
from uuid import UUID, uuid4

from jobledger.projections.shadow import Slice

from ..sql_blocks import load
from .process_names import has_died, process_name
from .rebuild_rows import slice_of
from .types import database_now

SQL = load("jobledger.infrastructure.sqlite", "sql/shadows.sql")

LEASE_SECONDS = 30.0
_MICROSECONDS = 1_000_000


class Lease(NamedTuple):
    """A slice and who has it."""

    owner: str
    part: Slice


def leased_until() -> int:
    """When a lease ends that is given or moved on now."""
    return database_now() + round(LEASE_SECONDS * _MICROSECONDS)


def take_slice(connection: Connection, rebuild_id: UUID) -> Lease | None:
    """Lease the first slice that is neither done nor anybody's."""
    now, owner = database_now(), f"{process_name()}:{uuid4().hex}"
    for number, other, until in connection.execute(SQL["slices_to_do"], (rebuild_id.bytes,)).fetchall():
        if other is None or until <= now or has_died(other.rpartition(":")[0]):
            row = connection.execute(SQL["own_slice"], (owner, leased_until(), rebuild_id.bytes, number)).fetchone()
            return Lease(owner, slice_of(*row))
    return None


def let_go(connection: Connection, rebuild_id: UUID, lease: Lease) -> None:
    """Leave the slice to others."""
    connection.execute(SQL["let_go_of_slice"], (rebuild_id.bytes, lease.part.number, lease.owner))
