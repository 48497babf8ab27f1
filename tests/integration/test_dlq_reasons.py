"""Every way into the dead-letter queue, on real ledgers: what is recorded, and who hears of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import pytest
from pydantic import BaseModel

from jobledger import App, JobContext, JobStatus, Ledger, NeverRetry, Retry
from jobledger.application.dlq_messages import DeadJob
from jobledger.application.ports import ClaimRequest
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobSentToDlq
from jobledger.infrastructure.service import make_maintenance
from tests.support.watched_worker import WAIT_SECONDS

TENANT, PERSONA = "acme", "billing-bot"
AT_ONCE = Retry.fixed(max_attempts=2, base_seconds=0)


class Payload(BaseModel):
    """Any."""

    number: int = 0


class Stricter(BaseModel):
    """What the next version of the program wants."""

    number: int
    email: str


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a ledger for this test alone, on each engine."""
    if request.param == "postgres":
        dsn: str = request.getfixturevalue("postgres_dsn")
        return dsn
    return f"sqlite:///{tmp_path}/ledger.db"


class Opened(NamedTuple):
    """A ledger with a program, and what somebody who follows the queue's deaths hears."""

    ledger: Ledger
    heard: list[RecordedEvent]
    dead: threading.Semaphore

    def wait_for_death(self) -> JobSentToDlq:
        """The next one that the follower hears of."""
        assert self.dead.acquire(timeout=WAIT_SECONDS)
        facts = self.heard[-1].facts
        assert isinstance(facts, JobSentToDlq)
        return facts


def program(handler: Callable[[JobContext, Payload], None]) -> App:
    """A program whose only job type, `tested.one`, has this handler."""
    app = App("tested", code_version="1")
    app.job("tested.one", effects="none", retry=AT_ONCE, queue="tested")(handler)
    return app


def done(_context: JobContext, _: Payload) -> None:
    """A handler that succeeds."""


@contextmanager
def opened(database: str, app: App) -> Iterator[Opened]:
    """The ledger, and a follower in what could be another process."""
    with Ledger.open(database, app=app, create=True) as ledger, Ledger.open(database) as follower:
        if not ledger.tenants.list():
            ledger.tenants.create(TENANT, reason="a customer")
        found = Opened(ledger, [], threading.Semaphore(0))

        def hear(event: RecordedEvent) -> None:
            found.heard.append(event)
            found.dead.release()

        events = follower.queue_events("tested")
        events.on("sent_to_dlq", hear)
        events.start()
        try:
            yield found
        finally:
            events.close()


def run_one(found: Opened, app: App) -> UUID:
    """Dispatch a job and work until nothing is left to do; its id."""
    job_id = found.ledger.dispatch("tested.one", {}, tenant=TENANT, persona=PERSONA).job_id
    found.ledger.worker(app, drain=True, drain_wait_seconds=WAIT_SECONDS).run()
    return job_id


def look(found: Opened, job_id: UUID) -> DeadJob:
    """What is told of a dead job; it is in the list, too."""
    (row,) = found.ledger.dlq.list(tenant=TENANT).rows
    dead = found.ledger.dlq.get(job_id, tenant=TENANT, bodies=True)
    assert (row.job_id, row.reason, row.error_type) == (job_id, dead.death.reason, dead.death.error_type)
    assert (row.persona, row.queue, row.dead_at) == (PERSONA, "tested", dead.died_at)
    return dead


def test_attempts_run_out(database: str) -> None:
    """A handler that fails for ever: after its last attempt; the auditable error event reaches whoever follows."""

    def handler(_context: JobContext, _: Payload) -> None:
        raise ConnectionError("the provider hung up")

    app = program(handler)
    with opened(database, app) as found:
        job_id = run_one(found, app)
        heard = found.wait_for_death()
        dead = look(found, job_id)
    assert heard == dead.death and heard.reason == "attempts_exhausted"
    assert (heard.error_type, heard.message, heard.attempt) == ("ConnectionError", "the provider hung up", 2)
    assert [attempt.ending for attempt in dead.attempts] == ["failed", "failed"]
    assert dead.traceback is not None and b"in handler" in dead.traceback


def test_a_handler_says_that_no_retry_can_help(database: str) -> None:
    """At once, whatever attempts remain."""

    def handler(_context: JobContext, _: Payload) -> None:
        raise NeverRetry("the account is closed")

    app = program(handler)
    with opened(database, app) as found:
        job_id = run_one(found, app)
        heard = found.wait_for_death()
        dead = look(found, job_id)
    assert (heard.reason, heard.error_type, heard.attempt) == ("unrecoverable", "NeverRetry", 1)
    assert (dead.job.state.attempts_counted, dead.job.state.attempts_allowed) == (1, 2)


def test_a_payload_that_no_longer_fits(database: str) -> None:
    """The next version of the program wants more than was dispatched: the handler never sees it, and a person who
    adds what is missing lets it run."""
    ran: list[Stricter] = []

    def handler(_context: JobContext, payload: Stricter) -> None:
        ran.append(payload)

    before = program(done)
    with Ledger.open(database, app=before, create=True) as ledger:
        ledger.tenants.create(TENANT, reason="a customer")
        ledger.types.register(before)
        job_id = ledger.dispatch("tested.one", {"number": 7}, tenant=TENANT, persona=PERSONA).job_id
    after = App("tested", code_version="2")
    after.job("tested.one", effects="none", retry=AT_ONCE, queue="tested")(handler)
    with opened(database, after) as found:
        found.ledger.worker(after, drain=True).run()
        heard = found.wait_for_death()
        dead = look(found, job_id)
        assert (heard.reason, heard.error_type) == ("integrity_violation", "PayloadInvalid")
        assert "payload.email" in heard.message and ran == []
        assert dead.job.payload == b'{"number":7}'
        found.ledger.jobs.requeue(job_id, tenant=TENANT, reason="asked them", put={"/email": "a@b.example"})
        found.ledger.worker(after, drain=True).run()
        assert found.ledger.jobs.get(job_id, tenant=TENANT).status is JobStatus.COMPLETED
    assert [payload.email for payload in ran] == ["a@b.example"]


def test_workers_vanish_once_too_often(database: str) -> None:
    """More often than `max_stalled` allows: the attempts did not fail, they ended with their workers."""
    app = program(done)
    with opened(database, app) as found:
        ledger = found.ledger
        ledger.types.register(app)
        receipt = ledger.dispatch("tested.one", {}, tenant=TENANT, persona=PERSONA, max_stalled=1)
        ports = ledger._handle.ports
        for worker in ("ghost-1", "ghost-2"):  # they claim and are never heard of
            now = datetime.now(UTC)
            (job,) = ports.queue.claim(ClaimRequest(worker, ("tested",), ("tested.one",), 1, "v1", 30.0, now)).jobs
            assert job.job_id == receipt.job_id
            make_maintenance(ledger._handle, actor="worker:alive").run_once()
        heard = found.wait_for_death()
        ledger.worker(app, drain=True).run()  # brings the lists up to date
        dead = look(found, receipt.job_id)
    assert (heard.reason, heard.error_type) == ("stalled", "Stalled")
    assert "stalled 2 times, more than the 1 allowed; last on ghost-2" in heard.message
    assert [(attempt.worker, attempt.ending) for attempt in dead.attempts] == [
        ("ghost-1", "stalled"), ("ghost-2", "stalled"),
    ]  # fmt: skip
    assert (dead.traceback, dead.job.state.attempts_counted) == (None, 0)


def test_a_suspended_tenants_job_dies_and_is_heard_of(database: str) -> None:
    """Unrecoverable, without an attempt."""
    app = program(done)
    with opened(database, app) as found:
        ledger = found.ledger
        ledger.types.register(app)
        receipt = ledger.dispatch("tested.one", {}, tenant=TENANT, persona=PERSONA)
        ledger.tenants.suspend(TENANT, reason="unpaid")
        make_maintenance(ledger._handle, actor="worker:alive").run_once()
        heard = found.wait_for_death()
        ledger.worker(app, drain=True).run()
        dead = look(found, receipt.job_id)
    assert (heard.reason, heard.error_type, dead.attempts) == ("unrecoverable", "TenantInactive", ())
