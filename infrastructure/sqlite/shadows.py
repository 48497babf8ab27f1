"""The storage of rebuilds on SQLite.

There is one writer, so every step is one short transaction guarded by compare-and-set; readers never wait for any. What
takes long at a million rows (building an index, dropping a table) is done piece by piece, each in a transaction of its
own: others write in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from sqlite3 import Connection
from uuid import UUID

from jobledger.domain.errors import (
    LedgerBusy,
    LedgerUnavailable,
    NotFound,
    RebuildUnderWay,
    SchemaOutdated,
)
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.ports import Checkpoint, CheckpointMoved
from jobledger.projections.projection import Projection
from jobledger.projections.shadow import (
    Comparison,
    Kept,
    Rebuild,
    RebuildState,
    Scope,
    Slice,
    Step,
    Versions,
    shadow_of,
)

from ..sql_blocks import load
from ..stored_rebuild import encode_comparison
from .comparing import SqliteSnapshot
from .database import Database
from .process_names import process_name
from .rebuild_rows import find_rebuild, find_recent, find_unfinished, optional_bytes, store_rebuild
from .shadow_tables import (
    drop_shadow,
    exchange,
    make_shadow,
    previous_name,
    remove_set_aside,
    replace_rows,
    set_aside,
    shadow_name,
)
from .slice_leases import leased_until, let_go, take_slice
from .types import database_now
from .view_rows import encode_rows, refusing, statements
from .view_tables import has_table, missing_indexes, quoted
from .views import Standing, parked_row, read_standings

SQL = load("jobledger.infrastructure.sqlite", "sql/shadows.sql", "sql/views.sql")

HOLD_SECONDS = 5.0
"""For how long a view keeps still at most: then whoever held it has died, or is too slow and has to begin again."""

_MICROSECONDS = 1_000_000
_ENDINGS = frozenset({RebuildState.SWAPPED, RebuildState.COMPARED, RebuildState.CANCELLED, RebuildState.FAILED})
_BEFORE_INDEXED = frozenset({RebuildState.FILLING, RebuildState.INDEXING})


class SqliteShadows:
    """The `Shadows`, through the process's only writer."""

    def __init__(self, database: Database, projections: Sequence[Projection] = ALL_PROJECTIONS) -> None:
        """`projections` are those that `versions` tells of."""
        self._database = database
        self._projections = projections

    # --- beginning, and how far it is --------------------------------------------------------------------------------

    def begin(self, rebuild: Rebuild, projection: Projection) -> Rebuild:
        """Store the rebuild and make an empty shadow; see the port."""
        with self._database.write() as connection:
            other = find_unfinished(connection, projection.name)
            if other is not None:
                raise RebuildUnderWay(f"a rebuild of {projection.name} is not over", field="NAME")
            make_shadow(connection, projection)
            store_rebuild(connection, rebuild)
            stored = _require(connection, rebuild.rebuild_id)
        self._sweep(projection.name)
        return stored

    def unfinished(self, projection: str) -> Rebuild | None:
        """The rebuild of this projection that is not over."""
        with self._database.read() as connection:
            return find_unfinished(connection, projection)

    def get(self, rebuild_id: UUID) -> Rebuild:
        """A rebuild, as it stands; `NotFound` for none."""
        with self._database.read() as connection:
            return _require(connection, rebuild_id)

    def recent(self, *, limit: int) -> list[Rebuild]:
        """The rebuilds that began last, without their slices."""
        with self._database.read() as connection:
            return find_recent(connection, limit)

    def note(
        self,
        rebuild: Rebuild,
        state: RebuildState,
        *,
        begun_version: int | None = None,
        error: str | None = None,
        comparison: Comparison | None = None,
    ) -> Rebuild:
        """Store how far the rebuild is; see the port."""
        compared = None if comparison is None else encode_comparison(comparison)
        with self._database.write() as connection:
            ended_at = database_now() if state in _ENDINGS else None
            noted = (state.value, ended_at, begun_version, error, compared)
            if (
                connection.execute(
                    SQL["note_rebuild"], (*noted, rebuild.rebuild_id.bytes, rebuild.state.value)
                ).rowcount
                != 1
            ):
                raise _went_on(rebuild)
            if ended_at is not None and state is not RebuildState.SWAPPED:
                drop_shadow(connection, rebuild.projection)
            stored = _require(connection, rebuild.rebuild_id)
        if ended_at is not None:
            self._sweep(rebuild.projection)
        return stored

    # --- filling and indexing ----------------------------------------------------------------------------------------

    @contextmanager
    def own_slice(self, rebuild: Rebuild) -> Iterator[Slice | None]:
        """Own a slice for the block: by a lease (slice_leases.py)."""
        with self._database.write() as connection:
            lease = take_slice(connection, rebuild.rebuild_id)
        if lease is None:
            yield None
            return
        try:
            yield lease.part
        finally:
            with (
                suppress(LedgerBusy, LedgerUnavailable),
                self._database.write() as connection,
            ):  # else it ends by itself
                let_go(connection, rebuild.rebuild_id, lease)

    def fill(self, rebuild: Rebuild, projection: Projection, step: Step) -> None:
        """Store fresh rows and the slice's progress; see the port."""
        rows = encode_rows(projection.columns, step.rows)
        now, before, after = database_now(), step.before, step.after
        parked = [parked_row(event, now) for event in step.parked]
        move = (
            optional_bytes(after.reached), after.events, after.rows, after.done, leased_until(),
            rebuild.rebuild_id.bytes, before.number, optional_bytes(before.reached), before.events,
        )  # fmt: skip
        with self._database.write() as connection:
            if connection.execute(SQL["move_slice"], move).rowcount != 1:
                raise CheckpointMoved(f"somebody else filled slice {before.number} of {rebuild.projection}")
            with refusing():
                connection.executemany(statements(shadow_of(projection)).insert, rows)
            connection.executemany(SQL["park"], parked)

    def index(self, rebuild: Rebuild, projection: Projection, *, at_once: int = 1) -> None:
        """Give the shadow its indexes, one after the other (there is one writer), and a checkpoint; see the port."""
        del at_once
        while self._index_once(rebuild, projection):
            pass

    def _index_once(self, rebuild: Rebuild, projection: Projection) -> bool:
        """Make one index, or end the work; whether there is more to do."""
        with self._database.write() as connection:
            stored = _require(connection, rebuild.rebuild_id)
            if stored.is_over or not all(part.done for part in stored.slices):
                raise _went_on(rebuild)
            if stored.state not in _BEFORE_INDEXED:
                return False
            missing = missing_indexes(connection, projection, shadow_name(projection.name))
            if missing:
                connection.execute(missing[0])
                return True
            shadow = (shadow_name(projection.name), rebuild.fold_version, rebuild.position, database_now())
            connection.execute(SQL["begin_shadow_checkpoint"], shadow)
            caught = (RebuildState.CATCHING_UP.value, *[None] * 4, rebuild.rebuild_id.bytes, stored.state.value)
            connection.execute(SQL["note_rebuild"], caught)
        return False

    # --- comparing and swapping --------------------------------------------------------------------------------------

    @contextmanager
    def hold(self, projection: Projection) -> Iterator[Checkpoint | None]:
        """Keep the live view still for the block, for at most `HOLD_SECONDS`; None while somebody else holds it."""
        now = database_now()
        until = now + round(HOLD_SECONDS * _MICROSECONDS)
        with self._database.write() as connection:
            connection.execute(SQL["begin_checkpoint"], (projection.name, projection.version, now))
            live = read_standings(connection)[projection.name]
            if not live.is_held:
                connection.execute(SQL["hold_checkpoint"], (until, process_name(), projection.name))
        if live.is_held:
            yield None
            return
        try:
            yield live.checkpoint
        finally:
            with (
                suppress(LedgerBusy, LedgerUnavailable),
                self._database.write() as connection,
            ):  # else it ends by itself
                connection.execute(SQL["release_checkpoint"], (projection.name, until))

    @contextmanager
    def snapshot(self, projection: Projection) -> Iterator[SqliteSnapshot]:
        """See live view and shadow as they are now, in one read transaction."""
        with self._database.read() as connection:
            live, _ = _at_one_position(connection, projection.name)
            yield SqliteSnapshot(connection, projection, live.checkpoint.position)

    def swap(self, rebuild: Rebuild, projection: Projection) -> None:
        """Put the shadow, or its rows, into the live view's place; see the port."""
        name = projection.name
        with self._database.write() as connection:
            live, fresh = _at_one_position(connection, name)
            swapped = (RebuildState.SWAPPED.value, *[None] * 4, rebuild.rebuild_id.bytes, RebuildState.COMPARING.value)
            if connection.execute(SQL["note_rebuild"], swapped).rowcount != 1:
                raise _went_on(rebuild)
            if not rebuild.scope.is_whole:
                _require_same_fold(name, live, fresh)
                replace_rows(connection, projection, rebuild.scope)
            else:
                exchange(connection, name)
            _take_over(connection, name, rebuild.scope)
            replaced = (fresh.checkpoint.version, database_now(), process_name(), name)
            connection.execute(SQL["replace_checkpoint"], replaced)
            drop_shadow(connection, name)
        self._sweep(name)

    # --- versions ----------------------------------------------------------------------------------------------------

    def previous_rows(self, name: str) -> int | None:
        """How many rows the version has that was replaced last."""
        with self._database.read() as connection:
            return _count(connection, previous_name(name))

    def drop_previous(self, name: str) -> int | None:
        """Remove the version that was replaced last; how many rows it had."""
        with self._database.write() as connection:
            rows = _count(connection, previous_name(name))
            set_aside(connection, name, previous_name(name))
        self._sweep(name)
        return rows

    def versions(self) -> list[Versions]:
        """What exists of each view."""
        with self._database.read() as connection:
            standings = read_standings(connection)
            return [
                Versions(
                    name, standings[name].checkpoint.version if name in standings else projection.version,
                    _kept(connection, shadow_name(name)), _kept(connection, previous_name(name)),
                )
                for projection in self._projections if (name := projection.name)
            ]  # fmt: skip

    def _sweep(self, view: str) -> None:
        """Remove what was set aside. What was decided is stored already: if this fails, the next one removes it."""
        with suppress(LedgerBusy, LedgerUnavailable):
            remove_set_aside(self._database, view)


def _require(connection: Connection, rebuild_id: UUID) -> Rebuild:
    rebuild = find_rebuild(connection, rebuild_id)
    if rebuild is None:
        raise NotFound(f"there is no rebuild {rebuild_id}", field="rebuild_id")
    return rebuild


def _went_on(rebuild: Rebuild) -> CheckpointMoved:
    return CheckpointMoved(f"somebody else went on with the rebuild of {rebuild.projection}", field="state")


def _at_one_position(connection: Connection, view: str) -> tuple[Standing, Standing]:
    """Where live view and shadow both stand; `CheckpointMoved` unless that is one position."""
    standings = read_standings(connection)
    live, fresh = standings.get(view), standings.get(shadow_name(view))
    if live is None or fresh is None or live.checkpoint.position != fresh.checkpoint.position:
        raise CheckpointMoved(f"{view} and its shadow do not stand at one position", field="checkpoint")
    return live, fresh


def _require_same_fold(view: str, live: Standing, fresh: Standing) -> None:
    if live.checkpoint.version != fresh.checkpoint.version:
        raise SchemaOutdated(
            f"{view} was written by version {live.checkpoint.version} of its fold, these rows by version "
            f"{fresh.checkpoint.version}", field="projection",
            hint=f'rebuild it whole: jobledger projections rebuild {view} --reason "..."',
        )  # fmt: skip


def _take_over(connection: Connection, view: str, scope: Scope) -> None:
    """What is parked of the shadow is parked of the live view now, instead of what was."""
    if scope.job is not None:
        connection.execute(SQL["forget_parked_of_stream"], (view, scope.job.bytes))
    elif scope.tenant is not None:
        connection.execute(SQL["forget_parked_of_tenant"], (view, scope.tenant))
    else:
        connection.execute(SQL["forget_parked"], (view,))
    connection.execute(SQL["move_parked"], (view, shadow_name(view)))


def _kept(connection: Connection, table: str) -> Kept | None:
    rows = _count(connection, table)
    return None if rows is None else Kept(rows, exact=True)


def _count(connection: Connection, table: str) -> int | None:
    if not has_table(connection, table):
        return None
    rows: int = connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()[0]
    return rows
