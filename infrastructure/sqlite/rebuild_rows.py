"""Rebuilds and their slices as SQLite holds them."""

from __future__ import annotations

from sqlite3 import Connection
from typing import Any
from uuid import UUID

from jobledger.projections.ports import StreamRange
from jobledger.projections.shadow import Purpose, Rebuild, RebuildState, Scope, Slice

from ..sql_blocks import load
from ..stored_rebuild import decode_comparison, encode_comparison
from .types import microseconds, moment, optional_microseconds, optional_moment
from .view_rows import Stored

SQL = load("jobledger.infrastructure.sqlite", "sql/shadows.sql")

StoredRow = tuple[Stored, ...]


def store_rebuild(connection: Connection, rebuild: Rebuild) -> None:
    """Store a new rebuild with its slices."""
    connection.execute(SQL["begin_rebuild"], _rebuild_row(rebuild))
    connection.executemany(SQL["begin_slice"], [_slice_row(rebuild.rebuild_id, part) for part in rebuild.slices])


def find_rebuild(connection: Connection, rebuild_id: UUID) -> Rebuild | None:
    """A rebuild as it is stored."""
    return _with_slices(connection, connection.execute(SQL["rebuild"], (rebuild_id.bytes,)).fetchone())


def find_unfinished(connection: Connection, projection: str) -> Rebuild | None:
    """The rebuild of this projection that is not over."""
    return _with_slices(connection, connection.execute(SQL["unfinished_rebuild"], (projection,)).fetchone())


def find_recent(connection: Connection, limit: int) -> list[Rebuild]:
    """The rebuilds that began last, without their slices."""
    return [_rebuild(*row) for row in connection.execute(SQL["recent_rebuilds"], (limit,))]


def slice_of(  # noqa: PLR0917 - the columns of the blocks
    number: int, after: bytes | None, until: bytes, reached: bytes | None, events: int, rows: int, done: int
) -> Slice:
    """A slice as it is stored."""
    within = StreamRange(_optional_id(after), UUID(bytes=until))
    return Slice(number, within, _optional_id(reached), events, rows, bool(done))


def optional_bytes(value: UUID | None) -> bytes | None:
    """An id as it is stored, or None."""
    return None if value is None else value.bytes


def _optional_id(stored: bytes | None) -> UUID | None:
    return None if stored is None else UUID(bytes=stored)


def _slice_row(rebuild_id: UUID, part: Slice) -> StoredRow:
    return (
        rebuild_id.bytes, part.number, optional_bytes(part.range.after), part.range.until.bytes,
        optional_bytes(part.reached), part.events, part.rows, part.done,
    )  # fmt: skip


def _rebuild_row(rebuild: Rebuild) -> StoredRow:
    comparison = None if rebuild.comparison is None else encode_comparison(rebuild.comparison)
    return (
        rebuild.rebuild_id.bytes, rebuild.projection, rebuild.purpose.value, rebuild.scope.tenant,
        optional_bytes(rebuild.scope.job), rebuild.fold_version, rebuild.position, rebuild.state.value,
        rebuild.begun_version, rebuild.actor, rebuild.reason, microseconds(rebuild.begun_at),
        optional_microseconds(rebuild.ended_at), rebuild.error, comparison,
    )  # fmt: skip


def _with_slices(connection: Connection, row: tuple[Any, ...] | None) -> Rebuild | None:
    if row is None:
        return None
    parts = connection.execute(SQL["slices"], (row[0],)).fetchall()
    return _rebuild(*row)._replace(slices=tuple(slice_of(*part) for part in parts))


def _rebuild(  # noqa: PLR0917 - the columns of the blocks
    rebuild_id: bytes, projection: str, purpose: str, tenant: str | None, job: bytes | None, fold_version: int,
    position: int, state: str, begun_version: int, actor: str, reason: str, begun_at: int, ended_at: int | None,
    error: str | None, comparison: str | None,
) -> Rebuild:  # fmt: skip
    return Rebuild(
        UUID(bytes=rebuild_id), projection, Purpose(purpose), Scope(tenant, _optional_id(job)), fold_version, position,
        actor, reason, moment(begun_at), RebuildState(state), begun_version, (), optional_moment(ended_at), error,
        None if comparison is None else decode_comparison(comparison),
    )  # fmt: skip
