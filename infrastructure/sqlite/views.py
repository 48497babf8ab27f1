"""Where views are stored on SQLite: one adapter for all projections, composed from their columns.

A batch is folded before the only writer is asked for, so that nobody waits for a fold. Ownership is therefore only
taken when the batch is stored: of two that worked on the same version of a view, compare-and-set of the checkpoint's
revision refuses the second. A view that is being compared or replaced keeps still until `held_until`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from sqlite3 import Connection
from typing import NamedTuple
from uuid import UUID

from jobledger.projections.ports import Changes, Checkpoint, CheckpointMoved, Key, Parked
from jobledger.projections.projection import Projection, Row

from ..sql_blocks import load
from ..stored_rebuild import decode_key, encode_key
from .database import Database
from .process_names import has_died, process_name
from .types import database_now, moment, optional_microseconds, optional_moment
from .view_rows import Stored, changing, encode_keys, encode_rows, in_chunks, keyed_rows, refusing, statements, tuples

SQL = load("jobledger.infrastructure.sqlite", "sql/views.sql")


class Standing(NamedTuple):
    """A checkpoint as it is stored. `revision` changes with whatever is stored of the view."""

    checkpoint: Checkpoint
    revision: int
    held_until: int | None
    held_by: str | None

    @property
    def is_held(self) -> bool:
        """Whether it must not move just now. One that has died holds nothing."""
        if self.held_until is None or self.held_until <= database_now():
            return False
        return self.held_by is None or not has_died(self.held_by)


class SqliteViewStore:
    """Stores views through the process's only writer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def checkpoints(self) -> Mapping[str, Checkpoint]:
        """The checkpoints of all projections by name."""
        with self._database.read() as connection:
            return {name: standing.checkpoint for name, standing in read_standings(connection).items()}

    def parked(self, projection: str | None = None, *, failed: bool = False, limit: int) -> list[Parked]:
        """What is parked, in order of projection and position; with `failed`, not what waits behind."""
        with self._database.read() as connection:
            if projection is None:
                rows = connection.execute(SQL["failed"] if failed else SQL["parked"], (limit,)).fetchall()
            else:
                block = SQL["failed_of"] if failed else SQL["parked_of"]
                rows = connection.execute(block, (projection, limit)).fetchall()
        return [_parked(*row) for row in rows]

    def parked_counts(self) -> Mapping[str, tuple[int, int]]:
        """How many events are parked, by projection: failed, and waiting behind them."""
        with self._database.read() as connection:
            rows = connection.execute(SQL["parked_counts"]).fetchall()
        return {name: (failed, waiting) for name, failed, waiting in rows}

    @contextmanager
    def begin(self, projections: Sequence[Projection]) -> Iterator[SqliteViewTransaction | None]:
        """Collect what a batch does, then store it in one transaction; None while one of them is held."""
        with self._database.read() as connection:
            standings = read_standings(connection)
        wanted = {
            projection.name: standings[projection.name] for projection in projections if projection.name in standings
        }
        if any(standing.is_held for standing in wanted.values()):
            yield None
            return
        self._release(wanted)
        transaction = SqliteViewTransaction(self._database, standings)
        yield transaction
        transaction.commit()

    def close(self) -> None:
        """Nothing of its own to release."""

    def _release(self, standings: Mapping[str, Standing]) -> None:
        """What somebody holds who has died, or for too long."""
        held = [(name, standing.held_until) for name, standing in standings.items() if standing.held_until is not None]
        if held:
            with self._database.write() as connection:
                connection.executemany(SQL["release_checkpoint"], held)


class SqliteViewTransaction:
    """One batch: reads at once, keeps writes until `commit`."""

    def __init__(self, database: Database, standings: Mapping[str, Standing]) -> None:
        self._database = database
        self._standings = standings
        self._revisions = {name: standing.revision for name, standing in standings.items()}
        self._writes: list[Callable[[Connection], None]] = []
        self._moved, self._touched = set[str](), set[str]()

    def checkpoint(self, projection: Projection) -> Checkpoint:
        """Where the projection stands."""
        standing = self._standings.get(projection.name)
        return Checkpoint(0, projection.version) if standing is None else standing.checkpoint

    def load(self, projection: Projection, keys: Sequence[Key]) -> Callable[[], Mapping[Key, Row]]:
        """The stored rows of these keys. They are no older than the checkpoint; were they newer, its revision would
        have changed and nothing of this batch would be stored."""
        stored: list[tuple[Stored, ...]] = []
        wanted = encode_keys(projection.key_columns, keys)
        with self._database.read() as connection:
            for sought in in_chunks(wanted):
                placeholders = tuples(len(sought), len(projection.key_columns))
                statement = statements(projection).load.replace("{keys}", placeholders)
                stored += connection.execute(statement, [value for key in sought for value in key]).fetchall()
        found = keyed_rows(projection, stored)
        return lambda: found

    def save(self, projection: Projection, changes: Changes, before: Checkpoint, after: Checkpoint) -> None:
        """Keep the changes and the move of the checkpoint for `commit`. Encoded here, not while others wait."""
        ours = statements(projection)
        begun = encode_rows(projection.columns, changes.begun)
        changed = encode_rows(changing(projection.columns), changes.changed)
        ended = encode_keys(projection.key_columns, changes.ended)

        def write(connection: Connection) -> None:
            self._move(connection, projection, before, after)
            with refusing():
                connection.executemany(ours.delete, ended)
                if ours.update is not None:
                    connection.executemany(ours.update, changed)
                connection.executemany(ours.upsert, begun)

        self._moved.add(projection.name)
        self._writes.append(write)

    def parked_keys(self, projection: Projection) -> frozenset[Key]:
        """The keys of which an event is parked."""
        with self._database.read() as connection:
            rows = connection.execute(SQL["parked_keys"], (projection.name,)).fetchall()
        return frozenset(decode_key(key) for (key,) in rows)

    def parked(self, projection: Projection, key: Key, *, after: int = 0, limit: int) -> list[Parked]:
        """What is parked of a key, in order of position."""
        wanted = (projection.name, encode_key(key), after, limit)
        with self._database.read() as connection:
            return [_parked(*row) for row in connection.execute(SQL["parked_of_key"], wanted)]

    def park(self, parked: Sequence[Parked]) -> None:
        """Keep these events; one that is parked already keeps its time and takes this error."""
        now = database_now()
        rows = [parked_row(event, now) for event in parked]
        waiting = [(event.projection, encode_key(event.key), event.position) for event in parked if event.error is None]

        def write(connection: Connection) -> None:
            connection.executemany(SQL["park"], rows)
            for name, key, position in waiting:
                if connection.execute(SQL["waits_behind"], (name, key, position)).fetchone() is None:
                    raise _taken(name)

        self._touch_later(parked, write)

    def unpark(self, parked: Sequence[Parked]) -> None:
        """Forget that these were parked."""
        keys = [(event.projection, _parked_key(event)) for event in parked]

        def write(connection: Connection) -> None:
            for name, key in keys:
                if connection.execute(SQL["unpark"], key).rowcount != 1:
                    raise _taken(name)

        self._touch_later(parked, write)

    def reset(self, projection: Projection) -> None:
        """Remove all rows and what is parked, and begin again."""

        def write(connection: Connection) -> None:
            connection.execute(statements(projection).truncate)
            connection.execute(SQL["forget_parked"], (projection.name,))
            connection.execute(
                SQL["reset_checkpoint"], (projection.name, projection.version, database_now(), process_name())
            )

        self._moved.add(projection.name)
        self._writes.append(write)

    def commit(self) -> None:
        """Store everything, or nothing."""
        if self._writes:
            with self._database.write() as connection:
                for write in self._writes:
                    write(connection)
                for name in self._touched - self._moved:
                    self._touch(connection, name)

    def _move(self, connection: Connection, projection: Projection, before: Checkpoint, after: Checkpoint) -> None:
        now, name = database_now(), projection.name
        if before.position == 0:
            connection.execute(SQL["begin_checkpoint"], (name, projection.version, now))
        move = (
            after.position, after.version, optional_microseconds(after.recorded_at), now, after.owner or process_name(),
            name, before.position, self._revisions.get(name, 0), now,
        )  # fmt: skip
        if connection.execute(SQL["move_checkpoint"], move).rowcount != 1:
            raise _moved(name)
        self._revisions[name] = self._revisions.get(name, 0) + 1

    def _touch_later(self, parked: Sequence[Parked], write: Callable[[Connection], None]) -> None:
        self._touched.update(event.projection for event in parked)
        self._writes.append(write)

    def _touch(self, connection: Connection, name: str) -> None:
        """What is parked belongs to the version of the view: whoever worked with another one stores nothing."""
        revision = self._revisions.get(name)
        if revision is None:
            return  # it never ran: nobody works on it
        if connection.execute(SQL["touch_checkpoint"], (name, revision, database_now())).rowcount != 1:
            raise _moved(name)


def read_standings(connection: Connection) -> dict[str, Standing]:
    """The checkpoints of all projections, shadows too."""
    return {name: _standing(*rest) for name, *rest in connection.execute(SQL["read_checkpoints"])}


def _standing(  # noqa: PLR0917 - the columns of the block
    position: int, version: int, recorded_at: int | None, owner: str, moved_at: int, revision: int, held: int | None,
    held_by: str | None,
) -> Standing:  # fmt: skip
    checkpoint = Checkpoint(position, version, optional_moment(recorded_at), owner, moment(moved_at))
    return Standing(checkpoint, revision, held, held_by)


def _moved(name: str) -> CheckpointMoved:
    return CheckpointMoved(f"another runner moved the checkpoint of {name}", field="checkpoint")


def _taken(name: str) -> CheckpointMoved:
    return CheckpointMoved(f"somebody else took parked events of {name}", field="parked")


def parked_row(event: Parked, now: int) -> tuple[Stored, ...]:
    """A parked event as it is stored; parked now unless it says when."""
    parked_at = optional_microseconds(event.parked_at) or now
    return (*_parked_key(event), event.tenant, event.position, event.topic, event.error, parked_at)


def _parked_key(event: Parked) -> tuple[Stored, ...]:
    return event.projection, event.originator_id.bytes, event.originator_version, encode_key(event.key)


def _parked(  # noqa: PLR0917 - the columns of the block
    projection: str, stream: bytes, version: int, key: str, tenant: str, position: int, topic: str, error: str | None,
    parked_at: int,
) -> Parked:  # fmt: skip
    return Parked(
        projection, decode_key(key), UUID(bytes=stream), version, tenant, position, topic, error, moment(parked_at)
    )
