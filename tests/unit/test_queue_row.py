"""What the queue keeps of a job comes back as it was, and a claim writes what the mapper would write."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from jobledger.application.ports import ClaimRequest
from jobledger.domain.event import Metadata
from jobledger.domain.job import JobDispatched, JobStarted, JobState, evolve
from jobledger.domain.retry import Retry
from jobledger.infrastructure import queue_row
from jobledger.infrastructure.mapper import encode_state

NOW = datetime(2026, 3, 1, 12, 30, 1, 123456, tzinfo=UTC)
JOB_ID = UUID("0198c7a0-0000-7000-8000-000000000001")
THREAD = Metadata(correlation_id='ä "quoted" \\ \u2028', trace_parent="00-0-1-01", actor="service:x", time=NOW)


def _state(persona: str | None) -> JobState:
    facts = JobDispatched(
        job_type="invoice.send", queue="billing", persona=persona, kind="ai", priority=-7, due_at=NOW,
        retry=Retry.delays(1, 2.5), timeout_seconds=12.5, soft_timeout_seconds=10, max_stalled=1, lock_key="k",
        limit_key="gpt",
    )  # fmt: skip
    return evolve(None, facts)


@pytest.mark.parametrize("persona", [None, "billing-bot"])
@pytest.mark.parametrize("now", [NOW, NOW.replace(microsecond=0)])
def test_a_claim_writes_what_the_mapper_writes(persona: str | None, now: datetime) -> None:
    """`job.started` built from fragments is byte for byte what the mapper makes of the event."""
    request = ClaimRequest("w\n1", ("billing",), ("invoice.send",), 1, "v1", 30, now)
    identity = queue_row.encode_identity("invoice.send", "billing", persona)
    built = queue_row.start_fragments(request).state(queue_row.encode_thread(THREAD), identity, 3)
    facts = JobStarted(
        job_type="invoice.send", queue="billing", persona=persona, attempt=3, worker="w\n1", code_version="v1",
        lease_seconds=30,
    )  # fmt: skip
    metadata = Metadata(
        correlation_id=THREAD.correlation_id, trace_parent=THREAD.trace_parent, actor="worker:w\n1", time=now
    )
    assert built == encode_state(metadata, facts)


def test_a_row_brings_the_state_back() -> None:
    """State, correlation id and trace come back from the columns of a row."""
    state = _state("billing-bot")
    job = queue_row.open_job(
        JOB_ID, "acme", 1, state.status.value, state.queue, state.job_type, state.persona, state.priority,
        state.due_at, state.attempt, state.attempts_counted, state.attempts_allowed, state.stalls, state.worker,
        None, state.lock_key, state.limit_key, state.cancel_reason, queue_row.encode_spec(state),
        queue_row.encode_thread(THREAD), b"{}",
    )  # fmt: skip
    assert job.state == state
    assert (job.correlation_id, job.trace_parent) == (THREAD.correlation_id, THREAD.trace_parent)


def test_options_of_a_newer_program_keep_a_row_from_nobody_else() -> None:
    """A retry policy of a kind that this program does not know: the row is marked, not an error for its whole batch."""
    state = _state(None)
    newer = queue_row.encode_spec(state).replace(b'"retry":{"kind":"', b'"retry":{"kind":"new-')
    job = queue_row.open_job(
        JOB_ID, "acme", 1, state.status.value, state.queue, state.job_type, state.persona, state.priority,
        state.due_at, state.attempt, state.attempts_counted, state.attempts_allowed, state.stalls, state.worker,
        None, state.lock_key, state.limit_key, state.cancel_reason, newer, queue_row.encode_thread(THREAD), b"{}",
    )  # fmt: skip
    assert not job.readable
    assert (job.job_id, job.state.job_type, job.state.max_stalled) == (JOB_ID, state.job_type, 3)
