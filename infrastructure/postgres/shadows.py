"""The storage of rebuilds on PostgreSQL: tables are made and replaced as `jobledger_owner`, rows are written and
compared as `jobledger_projector`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import LiteralString
from uuid import UUID

from psycopg import IsolationLevel, errors, sql

from jobledger.domain.errors import LedgerBusy, LedgerUnavailable
from jobledger.projections.ports import Checkpoint, CheckpointMoved
from jobledger.projections.projection import Projection
from jobledger.projections.shadow import Comparison, Kept, Rebuild, RebuildState, Slice, Step, Versions, shadow_of

from ..sql_blocks import load
from . import parking, rebuild_rows, shadow_indexes, swapping
from .binary_arrays import copy_rows
from .comparing import PostgresSnapshot, scope_condition
from .connections import Connections, PgConnection, Role
from .driver_errors import wrapped
from .rebuild_rows import ENDINGS
from .refusing import refusing
from .session import open_session
from .view_tables import bare_table, key, protection

SQL = load("jobledger.infrastructure.postgres", "sql/shadows.sql", "sql/views.sql")

LOCK_TIMEOUT = "2s"
"""How long a change of a rebuild's state waits for batches that are being stored."""
HOLD_TIMEOUT = "1s"
"""How long a batch of the live view's runner is waited for."""
SILENCE = "2min"
"""Who owns a slice and says nothing for so long (stopped, or its machine is gone) owns it no more."""

_INDEXED = frozenset({RebuildState.CATCHING_UP, RebuildState.COMPARING, RebuildState.SWAPPED})
_APPLICATION = "jobledger rebuild"


class PostgresShadows:
    """The `Shadows` on PostgreSQL. Slices are owned by one connection, which dies with the process, or
    when nothing is heard of it."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._session = open_session(connections, Role.PROJECTOR, {}, application_name=_APPLICATION)
        self._owned: set[tuple[UUID, int]] = set()
        self._owning = Lock()

    # --- rebuilds ------------------------------------------------------------------------------------------------

    def begin(self, rebuild: Rebuild, projection: Projection) -> Rebuild:
        """Store the rebuild and make an empty shadow; see the port."""
        scope_condition(projection, rebuild.scope)  # refused at once, not at the end
        shadow = shadow_of(projection)
        with self._owner() as connection, connection.transaction():
            rebuild_rows.insert(connection, rebuild)
            swapping.drop_shadow(connection, projection.name)
            connection.execute(bare_table(shadow, autovacuum=False))
            connection.execute(_for_table("GRANT SELECT, INSERT ON {} TO jobledger_projector", shadow.name))
            return rebuild_rows.get(connection, rebuild.rebuild_id)

    def unfinished(self, projection: str) -> Rebuild | None:
        """The rebuild of this projection that is not over."""
        with self._session.use() as connection:
            return rebuild_rows.unfinished(connection, projection)

    def get(self, rebuild_id: UUID) -> Rebuild:
        """A rebuild, as it stands; `NotFound` for none."""
        with self._session.use() as connection:
            return rebuild_rows.get(connection, rebuild_id)

    def recent(self, *, limit: int) -> list[Rebuild]:
        """The rebuilds that began last, without their slices."""
        with self._session.use() as connection:
            return rebuild_rows.recent(connection, limit)

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
        with self._owner() as connection, connection.transaction():
            connection.execute(SQL["set_lock_timeout"], (LOCK_TIMEOUT,))
            connection.execute(SQL["have_rebuild_alone"], (rebuild.rebuild_id,))
            rebuild_rows.note(
                connection, rebuild, state, begun_version=begun_version, error=error, comparison=comparison
            )
            if state in ENDINGS and state is not RebuildState.SWAPPED:
                swapping.drop_shadow(connection, rebuild.projection)
            return rebuild_rows.get(connection, rebuild.rebuild_id)

    # --- filling -------------------------------------------------------------------------------------------------

    @contextmanager
    def own_slice(self, rebuild: Rebuild) -> Iterator[Slice | None]:
        """Own a slice that is not done; see the port."""
        self._connections.require_sessions("a rebuild")
        part = self._take_slice(rebuild)
        try:
            yield part
        finally:
            if part is not None:
                self._give_back(rebuild, part)

    def fill(self, rebuild: Rebuild, projection: Projection, step: Step) -> None:
        """Store fresh rows and the slice's progress in one transaction; see the port."""
        shadow = shadow_of(projection)
        columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in shadow.columns)
        copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(shadow.name), columns)
        rows = copy_rows(shadow.columns, step.rows)
        with self._session.use() as connection, connection.transaction():
            connection.execute(SQL["commit_soon"])
            connection.execute(SQL["share_rebuild"], (rebuild.rebuild_id,))
            rebuild_rows.move_slice(connection, rebuild, step.before, step.after)
            if step.rows:
                with refusing(), connection.cursor().copy(copy_in) as copy:
                    copy.write(rows)
            parking.verify(parking.park(connection, step.parked))

    def index(self, rebuild: Rebuild, projection: Projection, *, at_once: int = 1) -> None:
        """Give the shadow what a view has besides rows; see the port."""
        shadow = shadow_of(projection)
        with self._owner() as connection:
            if self._is_indexed(connection, rebuild):
                return
            with connection.transaction():
                connection.execute(SQL["set_lock_timeout"], (LOCK_TIMEOUT,))
                connection.execute(SQL["keep_rebuild_alone"], (rebuild.rebuild_id,))
            if self._is_indexed(connection, rebuild):
                return
            _require_filled(connection, rebuild)
            connection.execute(_for_table("VACUUM {}", shadow.name))
            shadow_indexes.build(shadow, self._owner, at_once=at_once)
            with connection.transaction():
                connection.execute(SQL["set_lock_timeout"], (LOCK_TIMEOUT,))
                _complete(connection, rebuild, shadow)

    # --- comparing and swapping ----------------------------------------------------------------------------------

    @contextmanager
    def hold(self, projection: Projection) -> Iterator[Checkpoint | None]:
        """Keep the live view still; see the port. The lock dies with the process, and after a minute of silence."""
        with self._projector() as connection:
            if connection.execute(SQL["checkpoint_of"], (projection.name,)).fetchone() is None:
                # by itself: whoever swaps meanwhile must see it
                connection.execute(SQL["begin_checkpoint"], (projection.name, projection.version))
            with connection.transaction():
                connection.execute(SQL["set_lock_timeout"], (HOLD_TIMEOUT,))
                if not _held(connection, projection.name):
                    yield None
                    return
                row = connection.execute(SQL["checkpoint_of"], (projection.name,)).fetchone()
                yield None if row is None else Checkpoint(*row)

    @contextmanager
    def snapshot(self, projection: Projection) -> Iterator[PostgresSnapshot]:
        """See live view and shadow as they are now; see the port."""
        live, shadow = projection.name, shadow_of(projection).name
        with self._projector() as connection:
            connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
            with connection.transaction():
                rows = connection.execute(SQL["positions"], ([live, shadow],)).fetchall()
                positions = {name: position for name, position, _ in rows}
                if shadow not in positions or positions.get(live, 0) != positions[shadow]:
                    raise CheckpointMoved(f"{live} and its shadow do not stand at one position")
                caught_up = any(name == shadow and recorded_at is not None for name, _, recorded_at in rows)
                yield PostgresSnapshot(
                    connection, projection, positions[shadow], self._analyse if caught_up else lambda _: None
                )  # fmt: skip

    def swap(self, rebuild: Rebuild, projection: Projection) -> None:
        """The shadow takes the live view's place; see the port."""
        with self._owner() as connection, connection.transaction():
            swapping.swap(connection, rebuild, projection)

    def previous_rows(self, name: str) -> int | None:
        """How many rows the version has that was replaced last; see the port."""
        with self._projector() as connection, connection.transaction():
            return _count_rows(connection, swapping.previous_name(name))

    def drop_previous(self, name: str) -> int | None:
        """Remove the version that was replaced last; see the port."""
        previous = swapping.previous_name(name)
        with self._owner() as connection, connection.transaction():
            # row-level security binds the owner too
            connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(Role.PROJECTOR)))
            rows = _count_rows(connection, previous)
            connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(Role.OWNER)))
            if rows is not None:
                swapping.drop(connection, previous)
        return rows

    def versions(self) -> list[Versions]:
        """What exists of each view."""
        with self._session.use() as connection:
            rows = connection.execute(SQL["versions"]).fetchall()
        return [
            Versions(name, version, _kept(has_shadow, shadow_rows), _kept(has_previous, previous_rows))
            for name, version, has_shadow, shadow_rows, has_previous, previous_rows in rows
        ]

    def close(self) -> None:
        """Close the connection; slices that are owned here are not any more."""
        self._session.close()

    # --- inside --------------------------------------------------------------------------------------------------

    @contextmanager
    def _owner(self) -> Iterator[PgConnection]:
        with self._connected(Role.OWNER) as connection:
            yield connection

    @contextmanager
    def _projector(self) -> Iterator[PgConnection]:
        with self._connected(Role.PROJECTOR) as connection:
            yield connection

    @contextmanager
    def _connected(self, role: Role) -> Iterator[PgConnection]:
        """A connection for one piece of work, in which each statement sees what was committed before it."""
        with wrapped(), self._connections.connect(role, application_name=_APPLICATION) as connection:
            connection.isolation_level = IsolationLevel.READ_COMMITTED
            yield connection

    def _take_slice(self, rebuild: Rebuild) -> Slice | None:
        with self._owning, self._session.use() as connection:
            for part in rebuild_rows.slices(connection, rebuild.rebuild_id):
                name = (rebuild.rebuild_id, part.number)
                if part.done or name in self._owned or not _is_true(connection, SQL["own_slice"], name):
                    continue
                # looked at again: whoever had it may have gone on since, or have ended it
                mine = {part.number: part for part in rebuild_rows.slices(connection, rebuild.rebuild_id)}[part.number]
                if not mine.done:
                    self._owned.add(name)
                    connection.execute(SQL["end_session_when_silent"], (SILENCE,))
                    return mine
                connection.execute(SQL["give_slice_back"], name)
        return None

    def _give_back(self, rebuild: Rebuild, part: Slice) -> None:
        name = (rebuild.rebuild_id, part.number)
        with self._owning:
            self._owned.discard(name)
            with suppress(LedgerUnavailable), self._session.use() as connection:  # else it went with its connection
                connection.execute(SQL["give_slice_back"], name)
                if not self._owned:
                    connection.execute(SQL["end_session_when_silent"], ("0",))

    def _is_indexed(self, connection: PgConnection, rebuild: Rebuild) -> bool:
        return rebuild_rows.state_of(connection, rebuild) in _INDEXED

    def _analyse(self, projection: Projection) -> None:
        """What was caught up with is made known to the planner before readers come. Busy: somebody does so already."""
        with suppress(LedgerBusy), self._owner() as connection:
            connection.execute(_for_table("VACUUM (ANALYZE) {}", shadow_of(projection).name))


def _require_filled(connection: PgConnection, rebuild: Rebuild) -> None:
    row = connection.execute(SQL["slices_not_done"], (rebuild.rebuild_id,)).fetchone()
    if row is None or row[0]:
        raise CheckpointMoved(f"the shadow of {rebuild.projection} is not filled yet")


def _complete(connection: PgConnection, rebuild: Rebuild, shadow: Projection) -> None:
    connection.execute(key(shadow))
    connection.execute(_for_table("ALTER TABLE {} RESET (autovacuum_enabled)", shadow.name))
    connection.execute(_for_table("ANALYZE {}", shadow.name))
    for statement in protection(shadow):
        connection.execute(statement)
    connection.execute(SQL["begin_shadow_checkpoint"], (shadow.name, rebuild.fold_version, rebuild.position))
    connection.execute(SQL["set_state_of_rebuild"], (RebuildState.CATCHING_UP, rebuild.rebuild_id))


def _held(connection: PgConnection, projection: str) -> bool:
    try:
        with connection.transaction():  # a savepoint: what was waited for in vain spoils no more than this
            connection.execute(SQL["hold_projection"], (projection,))
    except errors.LockNotAvailable:
        return False
    return True


def _is_true(connection: PgConnection, statement: str, parameters: tuple[object, ...]) -> bool:
    row = connection.execute(statement, parameters).fetchone()
    return row is not None and bool(row[0])


def _kept(exists: bool, rows: int | None) -> Kept | None:
    return Kept(rows, exact=rows == 0) if exists else None


def _count_rows(connection: PgConnection, table: str) -> int | None:
    if not swapping.exists(connection, table):
        return None
    row = connection.execute(_for_table("SELECT count(*) FROM {}", table)).fetchone()
    return row[0] if row else 0


def _for_table(statement: LiteralString, table: str) -> sql.Composed:
    return sql.SQL(statement).format(sql.Identifier(table))
