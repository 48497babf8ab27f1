"""The example's job types and reactions, and the board that is folded from their events."""

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest

from examples.condominium import app
from examples.condominium.board import Board, Tally
from examples.condominium.routes import ROUTES
from jobledger.domain.event import Facts, Metadata, RecordedEvent
from jobledger.domain.job import JobCompleted, JobDispatched, JobFailed, JobRetried, JobSentToDlq, JobStarted
from jobledger.domain.refusal import DispatchRefused
from jobledger.domain.retry import Retry

NOW = datetime(2026, 3, 2, tzinfo=UTC)
COMMON = {"job_type": "payment.capture", "queue": "billing"}
DISPATCHED = JobDispatched(**COMMON, due_at=NOW)
STARTED = JobStarted(**COMMON, attempt=1, worker="w", code_version="c", lease_seconds=30)
FAILED = JobFailed(
    **COMMON, attempt=1, worker="w", error_type="ProviderUnavailableError", message="503", fingerprint="f",
    recoverable=True, estimated_cost=0.01,
)  # fmt: skip
RETRIED = JobRetried(
    **COMMON, next_attempt=2, due_at=NOW, delay_seconds=1, policy=Retry(), jitter=0.5, attempts_counted=1
)
COMPLETED = JobCompleted(**COMMON, attempt=2, worker="w", seconds_in_queue=0, seconds_running=0, estimated_cost=0.01)
DEAD = JobSentToDlq(
    **COMMON, reason="unrecoverable", attempt=1, error_type="NeverRetry", message="402", fingerprint="f"
)


def board_of(*jobs: Sequence[Facts]) -> Board:
    """The board after the events of these jobs."""
    metadata = Metadata(correlation_id="c", trace_parent="00-0-0-01", actor="test", time=NOW)
    board = Board()
    for number, facts in enumerate(jobs):
        for version, fact in enumerate(facts, start=1):
            board.take(RecordedEvent(UUID(int=number), version, "acme", version, NOW, fact.topic, fact, metadata))
    return board


def test_every_route_leads_to_a_declared_job_with_a_key() -> None:
    """Each event type of the story has a reaction, and the job type it leads to says what its key is."""
    assert app.reacts_to == set(ROUTES)
    for route in ROUTES.values():
        definition = app.jobs[route.job_type].definition
        assert definition.idempotency_key_fields or definition.idempotency_key_computed
        assert definition.description


def test_importing_the_app_is_cheap() -> None:
    """Who dispatches or publishes job types pays for no PDF, vector, HTTP or CloudEvents library."""
    heavy = "{'numpy', 'fpdf', 'httpx', 'wordllama', 'cloudevents', 'psycopg'}"
    code = f"import sys, examples.condominium; print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_board_shows_where_jobs_are() -> None:
    """Each job is counted once, where its last event put it."""
    board = board_of(
        [DISPATCHED],
        [DISPATCHED, STARTED],
        [DISPATCHED, STARTED, FAILED, RETRIED],
        [DISPATCHED, STARTED, FAILED, RETRIED, STARTED, COMPLETED],
        [DISPATCHED, STARTED, FAILED, DEAD],
    )
    assert board.tally("payment.capture") == Tally(waiting=2, running=1, done=1, dead=1, retries=2)
    assert board.tally("other") == Tally(0, 0, 0, 0, 0)
    assert board.job_types() == ["payment.capture"]
    assert board.cost == pytest.approx(0.04)


def test_the_board_is_drained_when_all_that_was_dispatched_has_ended() -> None:
    """Jobs that have not been seen yet count as not ended."""
    board = board_of([DISPATCHED, STARTED, COMPLETED], [DISPATCHED, STARTED, FAILED, DEAD])
    assert board.is_drained(2)
    assert not board.is_drained(3)
    assert not board_of([DISPATCHED]).is_drained(1)


def test_the_board_knows_refusals_and_the_most_retried_job() -> None:
    """Refused dispatches are counted; of the jobs that made it the most retried one is remembered."""
    board = board_of(
        [DISPATCHED, STARTED, COMPLETED],
        [DISPATCHED, STARTED, FAILED, RETRIED, STARTED, COMPLETED],
        [DISPATCHED, STARTED, FAILED, RETRIED, STARTED, FAILED, DEAD],
        [DispatchRefused(tenant_claimed="x", type_claimed="y", code="z", field=None, rule=None, message="m")],
    )
    assert board.refused == 1
    most = board.most_retried()
    assert most is not None
    assert most.job_id == UUID(int=1)
