"""The read side of a ledger under test, whatever its engine: runners, queries, and the tables behind them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from jobledger.application.ports import JobViews
from jobledger.domain.job import JobFacts
from jobledger.infrastructure.postgres.connections import Connections
from jobledger.infrastructure.postgres.event_source import PostgresEventSource
from jobledger.infrastructure.postgres.job_views import PostgresJobViews
from jobledger.infrastructure.postgres.shadows import PostgresShadows
from jobledger.infrastructure.postgres.views import PostgresViewStore
from jobledger.infrastructure.sqlite.database import Database
from jobledger.infrastructure.sqlite.event_source import SqliteEventSource
from jobledger.infrastructure.sqlite.job_views import SqliteJobViews
from jobledger.infrastructure.sqlite.shadows import SqliteShadows
from jobledger.infrastructure.sqlite.views import SqliteViewStore
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.parking import EventId
from jobledger.projections.ports import Key, LedgerSource, ViewStore
from jobledger.projections.projection import Projection, Row, SeenEvent
from jobledger.projections.runner import Runner
from jobledger.projections.shadow import Shadows
from tests.support.seen import fold_all

from .support import LedgerUnderTest, change_of, new_job


@dataclass
class Opened:
    """One process's view of the read side."""

    store: ViewStore
    source: LedgerSource
    views: JobViews
    shadows: Shadows

    def runner(
        self,
        *projections: Projection,
        batch_size: int = 5_000,
        store: ViewStore | None = None,
        skipped: Iterable[EventId] = (),
    ) -> Runner:
        """A runner of these projections (default: all), which learns what was skipped once it asks."""
        return Runner(
            store or self.store, self.source, projections or ALL_PROJECTIONS, batch_size=batch_size,
            skipped=lambda _: frozenset(skipped),
        )  # fmt: skip

    def run(
        self,
        *projections: Projection,
        batch_size: int = 5_000,
        store: ViewStore | None = None,
        skipped: Iterable[EventId] = (),
    ) -> None:
        """Bring these projections (default: all) up to date; none of them is stopped."""
        runner = self.runner(*projections, batch_size=batch_size, store=store, skipped=skipped)
        runner.run_until_current()
        runner.stop()
        assert runner.failures == {}

    def project(self, batch_size: int = 5_000) -> None:
        """Bring all views up to date."""
        self.run(batch_size=batch_size)

    def events(self) -> list[SeenEvent]:
        """The whole ledger."""
        return list(self.source.read_after(0, limit=100_000).events)

    def assert_views_are_the_fold(self) -> None:
        """Each table holds what folding the whole ledger, event by event, comes to, and nothing else."""
        events = self.events()
        for projection in ALL_PROJECTIONS:
            assert self.stored_rows(projection, events) == fold_all(projection, events), projection.name

    def stored_rows(self, projection: Projection, events: Sequence[SeenEvent]) -> dict[Key, Row]:
        """The rows of all keys that these events have; the table holds no others."""
        keys = {projection.key(event) for event in events if event.topic in projection.topics}
        wanted = [key for key in keys if key is not None]
        with self.store.begin((projection,)) as transaction:
            assert transaction is not None
            stored = dict(transaction.load(projection, wanted)()) if wanted else {}
        assert self.count_rows(projection.name) == len(stored)
        return stored

    def count_rows(self, table: str) -> int:
        """All rows of a table, whosever they are."""
        raise NotImplementedError

    def columns(self, table: str) -> dict[str, tuple[bool, bool]]:
        """The columns of a table in their order: may be null, is part of the key."""
        raise NotImplementedError


@dataclass
class OpenedSqlite(Opened):
    """On SQLite."""

    database: Database

    def count_rows(self, table: str) -> int:
        """All rows of a table."""
        with self.database.read() as connection:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def columns(self, table: str) -> dict[str, tuple[bool, bool]]:
        """As SQLite describes them."""
        with self.database.read() as connection:
            found = connection.execute('SELECT name, "notnull", pk FROM pragma_table_info(?)', (table,)).fetchall()
        return {name: (not not_null, bool(key)) for name, not_null, key in found}


@dataclass
class OpenedPostgres(Opened):
    """On PostgreSQL."""

    dsn: str

    def count_rows(self, table: str) -> int:
        """All rows of a table, seen by the superuser."""
        with psycopg.connect(self.dsn) as connection:
            row = connection.execute(
                sql.SQL("SELECT count(*) FROM jobledger.{}").format(sql.Identifier(table))
            ).fetchone()
        assert row is not None
        return int(row[0])

    def columns(self, table: str) -> dict[str, tuple[bool, bool]]:
        """As PostgreSQL describes them."""
        with psycopg.connect(self.dsn) as connection:
            found = connection.execute(
                "SELECT attname, NOT attnotnull, attnum = ANY (conkey) FROM pg_attribute"
                " JOIN pg_constraint ON conrelid = attrelid AND contype = 'p'"
                " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
                (f"jobledger.{table}",),
            ).fetchall()
        return {name: (nullable, key) for name, nullable, key in found}


@dataclass
class ReadSide:
    """The ledger with its read side; `open_again` is another process."""

    ledger: LedgerUnderTest
    own: Opened
    _closing: ExitStack = field(default_factory=ExitStack)

    def open_again(self) -> Opened:
        """The read side as another process opens it."""
        return self._closing.enter_context(open_read_side(self.ledger))

    def close(self) -> None:
        """Close what was opened again."""
        self._closing.close()

    def work(self, **options: object) -> UUID:
        """A job that was dispatched, started and completed; its id."""
        job = self.ledger.dispatch(**options)
        assert self.ledger.complete(self.ledger.claim_one()).position is not None
        return job

    def praise(self, job: UUID) -> None:
        """Turn a job's first event into one that only a newer program knows."""
        with self.ledger.connect() as connection:
            if self.ledger.engine == "sqlite":
                connection.execute("UPDATE ledger SET topic = 'job.praised' WHERE originator_id = ?", (job.bytes,))
            else:
                connection.execute("UPDATE jobledger.ledger SET topic = 'job.praised' WHERE originator_id = %s", (job,))
            connection.commit()

    def append(self, decisions: Iterable[Sequence[tuple[UUID, str, JobFacts]]]) -> None:
        """Write decisions of random histories; each job's ids are fresh ones of this month."""
        for decision in decisions:
            self._write(decision)

    def _write(self, decision: Sequence[tuple[UUID, str, JobFacts]]) -> None:
        job, tenant, first = decision[0]
        if first.topic == "job.dispatched":
            outcome = self.ledger.write(new_job(id=job, tenant=tenant, **_options(first)))
        else:
            outcome = self.ledger.write(
                change_of(self.ledger.open_job(job, tenant), [facts for _, _, facts in decision])
            )
        assert outcome.position is not None, outcome


def _options(birth: JobFacts) -> dict[str, Any]:
    return {name: getattr(birth, name) for name in type(birth).model_fields if name != "idempotency_key"}


def place_of(ledger: LedgerUnderTest) -> str:
    """Where another process finds the ledger: a path, or a connection string."""
    with ledger.connect() as connection:
        if ledger.engine == "sqlite":
            return str(connection.execute("PRAGMA database_list").fetchone()[2])
        return str(connection.info.dsn)


@contextmanager
def open_read_side(ledger: LedgerUnderTest) -> Iterator[Opened]:
    """Open the read side of the ledger once more."""
    with open_place(ledger.engine, place_of(ledger)) as opened:
        yield opened if ledger.job_views is None else replace(opened, views=ledger.job_views)


@contextmanager
def whole_read_side(ledger: LedgerUnderTest) -> Iterator[ReadSide]:
    """The ledger with its read side, until the test is over."""
    with open_read_side(ledger) as own:
        side = ReadSide(ledger, own)
        try:
            yield side
        finally:
            side.close()


@contextmanager
def open_place(engine: str, place: str) -> Iterator[Opened]:
    """Open the read side of the ledger at a place."""
    with ExitStack() as closing:
        if engine == "sqlite":
            database = Database(Path(place))
            closing.callback(database.close)
            yield OpenedSqlite(
                SqliteViewStore(database),
                SqliteEventSource(database),
                SqliteJobViews(database),
                SqliteShadows(database),
                database,
            )
            return
        connections = Connections(place)
        closing.callback(connections.close)
        store, source = PostgresViewStore(connections), PostgresEventSource(connections)
        closing.callback(store.close)
        closing.callback(source.close)
        shadows = PostgresShadows(connections)
        closing.callback(shadows.close)
        yield OpenedPostgres(store, source, PostgresJobViews(connections), shadows, place)
