"""Rebuilds and their slices as PostgreSQL keeps them. Functions over a connection of the projector or the owner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg import errors

from jobledger.domain.errors import NotFound, RebuildUnderWay
from jobledger.projections.ports import CheckpointMoved, StreamRange
from jobledger.projections.shadow import Comparison, Purpose, Rebuild, RebuildState, Scope, Slice

from ..sql_blocks import load
from ..stored_rebuild import decode_comparison, encode_comparison
from .connections import PgConnection

SQL = load("jobledger.infrastructure.postgres", "sql/shadows.sql")

ENDINGS = frozenset({RebuildState.SWAPPED, RebuildState.COMPARED, RebuildState.CANCELLED, RebuildState.FAILED})
"""The states in which `note` ends a rebuild."""


def insert(connection: PgConnection, rebuild: Rebuild) -> None:
    """Store a rebuild with its slices; `RebuildUnderWay` where another of its projection is not over."""
    scope = rebuild.scope
    try:
        connection.execute(
            SQL["begin_rebuild"],
            (
                rebuild.rebuild_id, rebuild.projection, rebuild.purpose, scope.tenant, scope.job, rebuild.fold_version,
                rebuild.position, rebuild.state, rebuild.begun_version, rebuild.actor, rebuild.reason, rebuild.begun_at,
            ),
        )  # fmt: skip
    except errors.UniqueViolation as error:
        raise under_way(rebuild.projection) from error
    rows = [(p.number, p.range.after, p.range.until, p.reached, p.events, p.rows, p.done) for p in rebuild.slices]
    if rows:
        columns: list[list[object]] = [list(column) for column in zip(*rows, strict=True)]
        connection.execute(SQL["begin_slices"], (rebuild.rebuild_id, *columns))


def under_way(projection: str) -> RebuildUnderWay:
    """The refusal of a second rebuild."""
    return RebuildUnderWay(
        f"{projection} is being rebuilt or verified already", field="projection", rule="one at a time",
        hint="see: jobledger projections status",
    )  # fmt: skip


def get(connection: PgConnection, rebuild_id: UUID) -> Rebuild:
    """A rebuild with its slices; `NotFound` for none."""
    row = connection.execute(SQL["rebuild"], (rebuild_id,)).fetchone()
    if row is None:
        raise NotFound(
            f"there is no rebuild {rebuild_id}", field="rebuild_id", hint="see: jobledger projections status"
        )
    return _with_slices(connection, _rebuild(row))


def unfinished(connection: PgConnection, projection: str) -> Rebuild | None:
    """The rebuild of a projection that is not over."""
    row = connection.execute(SQL["unfinished_rebuild"], (projection,)).fetchone()
    return None if row is None else _with_slices(connection, _rebuild(row))


def recent(connection: PgConnection, limit: int) -> list[Rebuild]:
    """The rebuilds that began last, without slices."""
    return [_rebuild(row) for row in connection.execute(SQL["recent_rebuilds"], (limit,)).fetchall()]


def slices(connection: PgConnection, rebuild_id: UUID) -> tuple[Slice, ...]:
    """The slices of a rebuild by number."""
    rows = connection.execute(SQL["slices"], (rebuild_id,)).fetchall()
    return tuple(
        Slice(number, StreamRange(after, until), reached, events, rows, done)
        for number, after, until, reached, events, rows, done in rows
    )


def move_slice(connection: PgConnection, rebuild: Rebuild, before: Slice, after: Slice) -> None:
    """Store how far a slice is; `CheckpointMoved` where somebody else was there, or the rebuild is not filling."""
    moved = connection.execute(
        SQL["move_slice"],
        (
            after.reached, after.events, after.rows, after.done, rebuild.rebuild_id, before.number, before.reached,
            before.events,
        ),
    )  # fmt: skip
    if moved.rowcount != 1:
        raise CheckpointMoved(f"slice {before.number} of the rebuild of {rebuild.projection} was moved by another")


def note(
    connection: PgConnection,
    rebuild: Rebuild,
    state: RebuildState,
    *,
    begun_version: int | None,
    error: str | None,
    comparison: Comparison | None,
) -> None:
    """Move a rebuild from the state that is known to another; `CheckpointMoved` where it is not in that any more."""
    changes = {
        "rebuild_id": rebuild.rebuild_id, "from": rebuild.state, "to": state, "ends": state in ENDINGS,
        "begun_version": begun_version, "error": None if error is None else error.replace("\x00", "\ufffd"),
        "comparison": None if comparison is None else encode_comparison(comparison),
    }  # fmt: skip
    if connection.execute(SQL["note_rebuild"], changes).rowcount != 1:
        raise CheckpointMoved(f"the rebuild of {rebuild.projection} is not {rebuild.state} any more")


def state_of(connection: PgConnection, rebuild: Rebuild) -> RebuildState:
    """Its state, which nobody changes until the transaction ends; `CheckpointMoved` where it is over."""
    row = connection.execute(SQL["state_of_rebuild"], (rebuild.rebuild_id,)).fetchone()
    if row is None or row[1]:
        raise CheckpointMoved(f"the rebuild of {rebuild.projection} is over")
    return RebuildState(row[0])


def _with_slices(connection: PgConnection, rebuild: Rebuild) -> Rebuild:
    return rebuild._replace(slices=slices(connection, rebuild.rebuild_id))


def _rebuild(row: Sequence[Any]) -> Rebuild:
    rebuild_id, projection, purpose, tenant, job, fold_version, position, actor, reason, begun_at, state, *rest = row
    begun_version, ended_at, error, comparison = rest
    return Rebuild(
        rebuild_id, projection, Purpose(purpose), Scope(tenant, job), fold_version, position, actor, reason, begun_at,
        RebuildState(state), begun_version, (), ended_at, error,
        None if comparison is None else decode_comparison(comparison),
    )  # fmt: skip
