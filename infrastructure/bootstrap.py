"""The single composition root: settings in, a ledger with all its adapters out. Nothing else wires anything.

An engine's package is imported when its URL asks for it: a SQLite user never waits for psycopg to load.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import NamedTuple

from jobledger.application.app import App
from jobledger.application.awaiting import Room
from jobledger.application.dispatcher import Dispatcher
from jobledger.application.ports import AttemptTransactions, SecretVault, WakeUp
from jobledger.application.preparing import OptionDefaults
from jobledger.application.transitions import TransitionLog
from jobledger.application.use_cases import Ports, use_cases
from jobledger.application.wake_up_listener import waking
from jobledger.domain.errors import LedgerNotFound
from jobledger.projections.ports import LedgerSource, ViewStore
from jobledger.projections.progress import Progress
from jobledger.projections.shadow import Shadows

from .database_url import DatabaseUrl
from .group_commit import GroupCommit, Limits
from .job_pages import LIST_NAMES
from .queue_rebuilding import QueueTables
from .settings import Settings
from .system import RandomIdentifiers, SystemClock, SystemKeyMint


@dataclass(frozen=True, slots=True)
class LedgerHandle:
    """An open ledger: ports with their adapters, and all use cases behind `dispatcher`. Close it when done."""

    settings: Settings
    ports: Ports
    wake_up: WakeUp
    view_store: ViewStore
    event_source: LedgerSource
    shadows: Shadows
    queue_tables: QueueTables
    progress: Progress
    dispatcher: Dispatcher
    prepare_storage: Callable[[], None] | None = None
    app: App | None = None
    transactions: AttemptTransactions | None = None
    awaited: WakeUp | None = None
    """By which those who wait for the lists hurry those that keep them, in another process."""
    writer_has_died: Callable[[], bool] = lambda: False
    """Whether nothing can be written any more until this process is started again."""
    _closing: ExitStack = field(default_factory=ExitStack)
    room: Room = field(default_factory=Room)
    """For those who wait for the lists: a server bounds it."""
    writes_waiting: Callable[[], int] = lambda: 0
    """How many wait for the group commit."""

    def close(self) -> None:
        """Let go of everything, the last opened first. Closing twice is harmless."""
        self._closing.close()


class _Engine(NamedTuple):
    """What an engine brings; `closing` ends it."""

    writer: GroupCommit
    ports: Ports
    wake_up: WakeUp
    view_store: ViewStore
    event_source: LedgerSource
    shadows: Shadows
    queue_tables: QueueTables
    progress: Progress
    prepare_storage: Callable[[], None] | None = None
    transactions: AttemptTransactions | None = None
    awaited: WakeUp | None = None


# --- the ledger ------------------------------------------------------------------------------------------------------


def open_ledger(settings: Settings, *, create: bool = False, app: App | None = None) -> LedgerHandle:
    """Open the ledger that the settings name; with `create`, make it or bring its schema up to date first.

    With `app`, payloads of its job types are checked by its own code. Raises LedgerNotFound, SchemaOutdated,
    SchemaTooNew, MigrationFailed or LedgerUnavailable; then nothing is left open.
    """
    with ExitStack() as closing:
        if create:
            _migrate(settings, closing)
        engine = _open_engine(settings, closing)
        defaults = OptionDefaults(installation=settings.job_defaults, queues=settings.queue_options)
        room = Room()
        dispatcher = use_cases(engine.ports, app=app, defaults=defaults, wake_up=engine.wake_up, room=room)
        engine.writer.add_listener(waking(engine.wake_up))
        engine.writer.add_listener(TransitionLog().committed)
        return LedgerHandle(
            settings, engine.ports, engine.wake_up, engine.view_store, engine.event_source, engine.shadows,
            engine.queue_tables, engine.progress, dispatcher, engine.prepare_storage, app, engine.transactions,
            engine.awaited, lambda: engine.writer.has_died, closing.pop_all(), room,
            lambda: engine.writer.waiting,
        )  # fmt: skip


def open_vault(settings: Settings) -> SecretVault:
    """Where workers get secrets from. Raises `InvalidSettings` where the vault that the settings name is none."""
    # a program that only dispatches never loads them
    from jobledger.application.worker.secrets import NoVault  # noqa: PLC0415

    from .vaults.file import FileVault  # noqa: PLC0415

    return NoVault() if settings.secrets_file is None else FileVault(settings.secrets_file)


def migrate(settings: Settings) -> list[str]:
    """Create the ledger or bring its schema up to date; returns the names of the migrations that were applied."""
    with ExitStack() as closing:
        return _migrate(settings, closing)


def _migrate(settings: Settings, closing: ExitStack) -> list[str]:
    url = settings.database
    if url.path is not None and url.engine == "sqlite":
        from .sqlite.migrations import migrate as migrate_sqlite  # noqa: PLC0415 - see the module's docstring

        return migrate_sqlite(url.path)
    from .postgres.migrations import migrate as migrate_postgres  # noqa: PLC0415

    settings.require_sessions("a migration")
    return migrate_postgres(_dsn(settings, closing, create=True))


def _open_engine(settings: Settings, closing: ExitStack) -> _Engine:
    if settings.database.engine == "sqlite":
        return _open_sqlite(settings, closing)
    return _open_postgres(settings, _dsn(settings, closing, create=False), closing)


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_writes=settings.group_commit_max_writes, buffer_writes=settings.group_commit_buffer_writes,
        wait_seconds=settings.group_commit_wait_seconds,
    )  # fmt: skip


def _not_found(url: DatabaseUrl) -> LedgerNotFound:
    return LedgerNotFound(
        f"there is no ledger at {url.path or url}", field="JOBLEDGER_DATABASE", rule="must name a ledger that exists",
        hint="create it with: jobledger migrate (or jobledger up), or set JOBLEDGER_DATABASE",
    )  # fmt: skip


# --- the engines -----------------------------------------------------------------------------------------------------


def _open_sqlite(settings: Settings, closing: ExitStack) -> _Engine:
    from .sqlite.connect import open_ledger as open_sqlite  # noqa: PLC0415
    from .sqlite.event_source import SqliteEventSource  # noqa: PLC0415
    from .sqlite.job_views import SqliteJobViews  # noqa: PLC0415
    from .sqlite.keys import SqliteKeyRegister  # noqa: PLC0415
    from .sqlite.queue_tables import SqliteQueueTables  # noqa: PLC0415
    from .sqlite.shadows import SqliteShadows  # noqa: PLC0415
    from .sqlite.statistics import SqliteStatistics  # noqa: PLC0415
    from .sqlite.views import SqliteViewStore  # noqa: PLC0415

    path = settings.database.path
    if path is None or not path.is_file():
        raise _not_found(settings.database)
    ledger = open_sqlite(path, busy_timeout_seconds=settings.sqlite_busy_timeout_seconds, limits=_limits(settings))
    closing.callback(ledger.close)
    view_store, event_source = SqliteViewStore(ledger.database), SqliteEventSource(ledger.database)
    closing.callback(view_store.close)
    progress = Progress(LIST_NAMES)
    ports = Ports(
        writer=ledger.writer, writer_at_once=ledger.writer,
        transaction_writer=ledger.transaction_writer, reader=ledger.reader, queue=ledger.queue,
        catalogue=ledger.catalogue, views=SqliteJobViews(ledger.database, progress),
        statistics=SqliteStatistics(ledger.database), clock=SystemClock(),
        identifiers=RandomIdentifiers(), keys=SqliteKeyRegister(ledger.database), key_mint=SystemKeyMint(),
    )  # fmt: skip
    return _Engine(
        ledger.writer, ports, ledger.wake_up, view_store, event_source, SqliteShadows(ledger.database),
        SqliteQueueTables(ledger.database), progress,
    )  # fmt: skip


def _open_postgres(settings: Settings, dsn: str, closing: ExitStack) -> _Engine:
    from .postgres.connect import open_ledger as open_postgres  # noqa: PLC0415
    from .postgres.event_source import PostgresEventSource  # noqa: PLC0415
    from .postgres.job_views import PostgresJobViews  # noqa: PLC0415
    from .postgres.keys import PostgresKeyRegister  # noqa: PLC0415
    from .postgres.queue_tables import PostgresQueueTables  # noqa: PLC0415
    from .postgres.shadows import PostgresShadows  # noqa: PLC0415
    from .postgres.statistics import PostgresStatistics  # noqa: PLC0415
    from .postgres.views import PostgresViewStore  # noqa: PLC0415
    from .postgres.wake_up import AWAITED, PostgresWakeUp  # noqa: PLC0415

    ledger = open_postgres(
        dsn, pool_min_size=settings.pool_min_size, pool_max_size=settings.pool_max_size,
        connect_timeout_seconds=settings.connect_timeout_seconds, limits=_limits(settings),
        pooler=settings.postgres_pooler,
    )  # fmt: skip
    closing.callback(ledger.close)
    view_store = PostgresViewStore(ledger.connections)
    event_source = PostgresEventSource(ledger.connections)
    shadows = PostgresShadows(ledger.connections)
    closing.callback(view_store.close)
    closing.callback(event_source.close)
    closing.callback(shadows.close)
    progress, awaited = Progress(LIST_NAMES), PostgresWakeUp(ledger.connections, channel=AWAITED)
    closing.callback(awaited.close)
    views = PostgresJobViews(ledger.connections, ledger.horizon, progress, lambda: awaited.notify(frozenset()))
    ports = Ports(
        writer=ledger.writer, writer_at_once=ledger.writer,
        transaction_writer=ledger.transaction_writer, reader=ledger.reader, queue=ledger.queue,
        catalogue=ledger.catalogue, views=views,
        statistics=PostgresStatistics(ledger.connections, ledger.horizon),
        clock=SystemClock(), identifiers=RandomIdentifiers(), keys=PostgresKeyRegister(ledger.connections),
        key_mint=SystemKeyMint(),
    )  # fmt: skip
    return _Engine(
        ledger.writer, ports, ledger.wake_up, view_store, event_source, shadows,
        PostgresQueueTables(ledger.connections), progress, ledger.ensure_partitions, ledger.attempt_transactions,
        awaited,
    )  # fmt: skip


def _dsn(settings: Settings, closing: ExitStack, *, create: bool) -> str:
    """The URL of a PostgreSQL server: the one that was named, or that of an embedded one, started (or joined) here."""
    url = settings.database
    if url.path is None:
        return url.url
    from .postgres.embedded import EmbeddedPostgres  # noqa: PLC0415

    server = EmbeddedPostgres(url.path, binaries=settings.pg_bin)
    if not server.exists and not create:
        raise _not_found(url)
    dsn = server.start()
    closing.callback(server.stop)
    return dsn
