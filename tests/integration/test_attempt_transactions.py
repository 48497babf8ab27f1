"""`context.transaction()`: what a handler writes commits together with its job's completion, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from jobledger import App, JobContext, JobStatus, Ledger, Retry
from jobledger.application.worker import WorkerEventName
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobFailed
from jobledger.infrastructure.postgres.connect import open_ledger
from jobledger.infrastructure.service import Service
from tests.support.waiting import until
from tests.support.watched_worker import WAIT_SECONDS

TENANT = "acme"


class Payload(BaseModel):
    """Which one."""

    number: int = 0


class Program:
    """An app with one handler, on a ledger of its own, with a table of the application beside it."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.app = App("tested", code_version="1")
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE SCHEMA shop")
            connection.execute("CREATE TABLE shop.payments (number integer, role text DEFAULT current_user)")

    def handles(self, handler: Callable[[JobContext, Payload], Any], **options: Any) -> None:  # noqa: ANN401
        """Declare the only job type; a failed attempt is not tried again."""
        handler.__annotations__ = {"context": JobContext, "payload": Payload, "return": object}
        self.app.job("tested.pay", effects="transaction", **{"retry": Retry.never(), **options})(handler)

    @contextmanager
    def opened(self, url: str | None = None) -> Iterator[Ledger]:
        """The ledger, with its tenant."""
        with Ledger.open(url or self.dsn, app=self.app, create=True) as ledger:
            ledger.tenants.create(TENANT, reason="a customer")
            yield ledger

    def run(self) -> tuple[list[str], tuple[RecordedEvent, ...]]:
        """Run one job to its end: the names of its events, and the events with bodies."""
        with self.opened() as ledger:
            job_id = ledger.dispatch("tested.pay", {"number": 7}, tenant=TENANT).job_id
            ledger.worker(self.app, drain=True).run()
            return topics(ledger, job_id), ledger.jobs.history(job_id, tenant=TENANT, bodies=True).events

    @property
    def payments(self) -> list[int]:
        """What is committed in the application's table."""
        with psycopg.connect(self.dsn) as connection:
            return [row[0] for row in connection.execute("SELECT number FROM shop.payments ORDER BY 1")]


@pytest.fixture
def program(postgres_dsn: str) -> Program:
    """A program on PostgreSQL."""
    return Program(postgres_dsn)


def topics(ledger: Ledger, job_id: UUID) -> list[str]:
    """The names of the events of a job."""
    return [event.topic.removeprefix("job.") for event in ledger.jobs.history(job_id, tenant=TENANT).events]


def pay(connection: Any, number: int = 7) -> None:  # noqa: ANN401 - a psycopg.Connection
    """The effect."""
    connection.execute("INSERT INTO shop.payments (number) VALUES (%s)", (number,))


def test_effects_and_completion_commit_together(program: Program) -> None:
    """What the handler wrote, in its own role, is there with the completion; steps, progress and log lines too."""

    def handler(context: JobContext, payload: Payload) -> dict[str, str]:
        with context.transaction() as connection:
            pay(connection)
            context.progress(0.5, "half")
            context.log("paid")
            number = context.step("number", lambda: payload.number)
        pay(connection, number + 1)  # it stays open after the block
        assert not program.payments
        (role,) = connection.execute("SELECT role FROM shop.payments").fetchone()
        return {"role": role}

    program.handles(handler)
    names, events = program.run()
    assert names == ["dispatched", "started", "step_recorded", "progressed", "logged", "completed"]
    assert program.payments == [7, 8]
    with psycopg.connect(program.dsn) as connection:
        assert events[-1].body == b'{"role":"%b"}' % connection.info.user.encode()
    assert (events[2].body, b"info paid" in (events[4].body or b"")) == (b"7", True)


def test_an_error_rolls_everything_back(program: Program) -> None:
    """A handler that raises leaves nothing of its transaction; its failure, log and progress are recorded as ever."""

    def handler(context: JobContext, payload: Payload) -> None:
        with context.transaction() as connection:
            pay(connection)
            context.log("about to fail")
            context.step("number", lambda: payload.number)
        raise ValueError("after all")

    program.handles(handler)
    names, events = program.run()
    assert names == ["dispatched", "started", "logged", "failed", "sent_to_dlq"]
    assert not program.payments
    failed = events[3].facts
    assert isinstance(failed, JobFailed) and failed.error_type == "ValueError"


def test_an_error_that_the_handler_takes_leaves_a_job_without_effects(program: Program) -> None:
    """An error that leaves the block has rolled the transaction back; a handler that goes on completes without it."""

    def handler(context: JobContext, payload: Payload) -> str:
        with suppress(ZeroDivisionError), context.transaction() as connection:
            pay(connection)
            _ = 1 / 0
        context.step("after", lambda: "recorded as ever")
        return "without"

    program.handles(handler)
    names, _ = program.run()
    assert names == ["dispatched", "started", "step_recorded", "completed"]
    assert not program.payments


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("COMMIT", "is not open any more"), ("COMMIT; BEGIN", "the handler ended the transaction itself"),
        ("SELECT 1 / 0", "the handler returned as if nothing was"),
    ],
    ids=["ended", "ended and begun", "a swallowed error"],
)  # fmt: skip
def test_a_transaction_that_the_handler_broke_completes_nothing(program: Program, statement: str, message: str) -> None:
    """A handler that ends the transaction, or goes on in one that failed, has not completed: the failure says why."""

    def handler(context: JobContext, payload: Payload) -> None:
        with context.transaction() as connection, suppress(psycopg.Error):
            connection.execute(statement)

    program.handles(handler)
    names, events = program.run()
    assert names == ["dispatched", "started", "failed", "sent_to_dlq"]
    failed = events[2].facts
    assert isinstance(failed, JobFailed) and message in failed.message


@pytest.mark.parametrize("method", ["commit", "rollback"])
def test_the_driver_refuses_to_end_the_transaction(program: Program, method: str) -> None:
    """`commit()` and `rollback()` belong to the worker: they raise, and with that the attempt fails."""

    def handler(context: JobContext, payload: Payload) -> None:
        with context.transaction() as connection:
            pay(connection)
            getattr(connection, method)()

    program.handles(handler)
    assert program.run()[0] == ["dispatched", "started", "failed", "sent_to_dlq"]
    assert not program.payments


def test_a_constraint_that_is_checked_at_the_commit_fails_the_attempt(program: Program) -> None:
    """A deferred constraint of the application refuses the COMMIT: nothing is stored, and the failure names it."""
    with psycopg.connect(program.dsn) as connection:
        connection.execute("ALTER TABLE shop.payments ADD UNIQUE (number) DEFERRABLE INITIALLY DEFERRED")

    def handler(context: JobContext, payload: Payload) -> None:
        with context.transaction() as connection:
            pay(connection)
            pay(connection)

    program.handles(handler)
    names, events = program.run()
    assert names == ["dispatched", "started", "failed", "sent_to_dlq"]
    failed = events[2].facts
    assert isinstance(failed, JobFailed) and failed.error_type == "UniqueViolation"
    assert not program.payments


def test_one_transaction_an_attempt(program: Program) -> None:
    """A second one is refused, and with it the attempt."""

    def handler(context: JobContext, payload: Payload) -> None:
        with context.transaction() as connection:
            pay(connection)
        with context.transaction():
            pass

    program.handles(handler)
    names, events = program.run()
    assert names == ["dispatched", "started", "failed", "sent_to_dlq"]
    failed = events[2].facts
    assert isinstance(failed, JobFailed) and "has had its transaction" in failed.message
    assert not program.payments


def test_a_result_that_does_not_fit_rolls_back(program: Program) -> None:
    """A result that cannot be recorded fails the attempt, and its effects are undone."""

    def handler(context: JobContext, payload: Payload) -> object:
        with context.transaction() as connection:
            pay(connection)
        return object()

    program.handles(handler)
    assert program.run()[0] == ["dispatched", "started", "failed", "sent_to_dlq"]
    assert not program.payments


def test_readers_are_not_held_back(program: Program) -> None:
    """While a handler holds its transaction open, with steps and log lines in it, the horizon goes on."""
    inside, go_on = threading.Event(), threading.Event()

    def handler(context: JobContext, payload: Payload) -> None:
        with context.transaction() as connection:
            pay(connection)
            context.step("one", lambda: 1)
            context.log("waiting")
            inside.set()
            assert go_on.wait(WAIT_SECONDS)

    program.handles(handler)
    with program.opened() as ledger:
        job_id = ledger.dispatch("tested.pay", {}, tenant=TENANT).job_id
        with running(ledger.worker(program.app)) as heard, closing(open_ledger(program.dsn)) as other:
            assert inside.wait(WAIT_SECONDS)
            before = other.reader.head()
            ledger.tenants.create("beta", reason="another customer")
            until(lambda: other.reader.head() > before, "the transaction holds a ticket of the ledger")
            go_on.set()
            heard.wait_for(WorkerEventName.PROCESSED, job_id)
        assert topics(ledger, job_id) == ["dispatched", "started", "step_recorded", "logged", "completed"]


def test_nothing_commits_after_the_hard_timeout(program: Program) -> None:
    """Once an attempt was failed for its hard timeout, its transaction is ended by the server, and what the handler
    does afterwards is refused."""
    inside, go_on, over = threading.Event(), threading.Event(), threading.Event()
    raised: list[BaseException] = []

    def handler(context: JobContext, payload: Payload) -> None:
        try:
            with context.transaction() as connection:
                pay(connection)
                inside.set()
                assert go_on.wait(WAIT_SECONDS)
                pay(connection)
        except BaseException as error:  # noqa: BLE001 - to look at
            raised.append(error)
        finally:
            over.set()

    program.handles(handler, timeout_seconds=1)
    with program.opened() as ledger:
        job_id = ledger.dispatch("tested.pay", {}, tenant=TENANT).job_id
        with running(ledger.worker(program.app)) as heard:
            assert inside.wait(WAIT_SECONDS)
            heard.wait_for(WorkerEventName.ERRORED, job_id)
            _until_nobody_is_in_a_transaction(program.dsn)
            go_on.set()
            assert over.wait(WAIT_SECONDS)
        assert topics(ledger, job_id) == ["dispatched", "started", "failed", "sent_to_dlq"]
    assert [type(error) for error in raised] == [psycopg.errors.AdminShutdown]
    assert not program.payments


def test_the_lease_is_checked_in_the_transaction_itself(program: Program) -> None:
    """An attempt that lost its lease while its handler ran, and does not know it, commits nothing."""
    taken: list[str] = []

    def handler(context: JobContext, payload: Payload) -> None:
        with context.transaction() as connection:
            pay(connection)
        with psycopg.connect(program.dsn) as operator:  # as if another worker had rescued and claimed it
            taken.extend(
                row[0] for row in operator.execute(
                    "UPDATE jobledger.open_jobs SET worker = 'another' WHERE job_id = %s RETURNING worker",
                    (context.job_id,),
                )
            )  # fmt: skip

    program.handles(handler)
    with program.opened() as ledger:
        job_id = ledger.dispatch("tested.pay", {}, tenant=TENANT).job_id
        with running(ledger.worker(program.app)) as heard:
            heard.wait_for(WorkerEventName.LEASE_LOST, job_id)
        assert taken == ["another"]
        assert topics(ledger, job_id) == ["dispatched", "started"]
    assert not program.payments


def test_a_completion_waits_for_who_changes_the_job(program: Program) -> None:
    """Another transaction that holds the job's row for a moment costs the attempt nothing."""
    inside = threading.Event()
    locked = threading.Event()

    def handler(context: JobContext, payload: Payload) -> None:
        with context.transaction() as connection:
            pay(connection)
            inside.set()
            assert locked.wait(WAIT_SECONDS)

    program.handles(handler)
    with program.opened() as ledger:
        job_id = ledger.dispatch("tested.pay", {}, tenant=TENANT).job_id
        with running(ledger.worker(program.app)) as heard, psycopg.connect(program.dsn) as operator:
            assert inside.wait(WAIT_SECONDS)
            operator.execute("SELECT FROM jobledger.open_jobs WHERE job_id = %s FOR UPDATE", (job_id,))
            locked.set()
            _until_somebody_tries_to_complete(program.dsn)
            operator.rollback()
            heard.wait_for(WorkerEventName.PROCESSED, job_id)
        assert topics(ledger, job_id) == ["dispatched", "started", "completed"]
    assert program.payments == [7]


def test_a_request_to_cancel_does_not_undo_what_is_done(program: Program) -> None:
    """A handler that returned has done its work, though somebody asked to cancel meanwhile: it commits."""

    def handler(context: JobContext, payload: Payload) -> None:
        with context.transaction() as connection:
            pay(connection)
        ledgers[0].jobs.cancel(context.job_id, tenant=TENANT, reason="too late")

    ledgers: list[Ledger] = []
    program.handles(handler)
    with program.opened() as ledger:
        ledgers.append(ledger)
        job_id = ledger.dispatch("tested.pay", {}, tenant=TENANT).job_id
        ledger.worker(program.app, drain=True).run()
        assert topics(ledger, job_id) == ["dispatched", "started", "cancel_requested", "completed"]
        assert ledger.jobs.get(job_id, tenant=TENANT).status is JobStatus.COMPLETED
    assert program.payments == [7]


def test_what_a_handler_leaves_in_its_session_is_gone(program: Program) -> None:
    """The next attempt's connection knows nothing of the settings of the one before."""
    seen: list[str] = []

    def handler(context: JobContext, payload: Payload) -> None:
        with context.transaction() as connection:
            seen.append(connection.execute("SHOW search_path").fetchone()[0])
            connection.execute("SET SESSION search_path = shop")

    program.handles(handler)
    with program.opened() as ledger:
        for _ in range(2):
            ledger.dispatch("tested.pay", {}, tenant=TENANT)
        ledger.worker(program.app, drain=True, concurrency=1).run()
    assert seen == ['"$user", public'] * 2


def test_a_type_that_promises_a_transaction_and_opens_none_is_told_of(program: Program) -> None:
    """It may be right, where there is nothing to do: the job completes, and the log says so once."""

    def handler(context: JobContext, payload: Payload) -> None: ...

    program.handles(handler)
    with capture_logs() as logs, program.opened() as ledger:
        for _ in range(3):
            ledger.dispatch("tested.pay", {}, tenant=TENANT)
        ledger.worker(program.app, drain=True).run()
    assert [log["job_type"] for log in logs if log["event"] == "worker.no_transaction"] == ["tested.pay"]


def test_sqlite_has_no_such_transaction(tmp_path: Path) -> None:
    """On SQLite the attempt fails at once and says what to do instead."""
    app = App("tested", code_version="1")

    @app.job("tested.pay", effects="transaction")
    def handler(context: JobContext, payload: Payload) -> None:
        with context.transaction():
            raise AssertionError("not here")

    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db", app=app, create=True) as ledger:
        ledger.tenants.create(TENANT, reason="a customer")
        job_id = ledger.dispatch("tested.pay", {}, tenant=TENANT).job_id
        ledger.worker(app, drain=True).run()
        events = ledger.jobs.history(job_id, tenant=TENANT).events
    failed = events[2].facts
    assert isinstance(failed, JobFailed)
    assert (failed.error_type, failed.recoverable) == ("TransactionUnavailable", False)
    assert "needs a ledger on PostgreSQL" in failed.message


def test_a_coroutine_has_no_such_transaction(program: Program) -> None:
    """Its connection would block the event loop of all coroutines: refused, for good."""

    async def handler(context: JobContext, payload: Payload) -> None:
        with context.transaction():
            raise AssertionError("not here")

    program.handles(handler)
    names, events = program.run()
    assert names == ["dispatched", "started", "failed", "sent_to_dlq"]
    failed = events[2].facts
    assert isinstance(failed, JobFailed) and "the event loop's here" in failed.message


class Heard:
    """The events of a worker, to wait for."""

    def __init__(self, service: Service) -> None:
        self._seen: list[tuple[WorkerEventName, UUID | None]] = []
        self._changed = threading.Condition()
        service.events.on_any(self._hear)

    def _hear(self, event: Any) -> None:  # noqa: ANN401 - a WorkerEvent
        with self._changed:
            self._seen.append((event.name, event.job_id))
            self._changed.notify_all()

    def wait_for(self, name: WorkerEventName, job_id: UUID) -> None:
        """Until the worker has told this of the job."""
        with self._changed:
            assert self._changed.wait_for(lambda: (name, job_id) in self._seen, WAIT_SECONDS), self._seen


@contextmanager
def running(service: Service) -> Iterator[Heard]:
    """A worker that runs during the block, and what it tells."""
    heard = Heard(service)
    service.start()
    try:
        yield heard
    finally:
        service.request_stop_now()
        assert service.close(WAIT_SECONDS)


def _until_nobody_is_in_a_transaction(dsn: str) -> None:
    """Until the server ended the sessions of attempts' transactions."""
    statement = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'jobledger transaction'"
    _until(dsn, statement, lambda count: count == 0)


def _until_somebody_tries_to_complete(dsn: str) -> None:
    """Until the session of an attempt's transaction has called change_jobs, in vain."""
    statement = """SELECT count(*) FROM pg_stat_activity
                   WHERE application_name = 'jobledger transaction' AND query LIKE '%change_jobs%'"""
    _until(dsn, statement, lambda count: count > 0)


def _until(dsn: str, statement: str, holds: Callable[[int], bool]) -> None:
    with psycopg.connect(dsn, autocommit=True) as operator:
        give_up = threading.Event()
        timer = threading.Timer(WAIT_SECONDS, give_up.set)
        timer.start()
        try:
            while True:
                row = operator.execute(statement).fetchone()
                assert row is not None
                if holds(row[0]):
                    return
                assert not give_up.wait(0.01), statement
        finally:
            timer.cancel()
