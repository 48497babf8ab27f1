"""Jobs by id: read from their streams, saved under a guard."""

from __future__ import annotations

from uuid import UUID

from jobledger.application.job_repository import LedgerJobRepository
from jobledger.application.ports import Job
from jobledger.application.writes import WriteStatus
from jobledger.domain import job as decisions
from jobledger.domain.event import Event, Metadata
from jobledger.domain.job import JobStatus
from tests.support.use_cases import START, UseCases


def _cancelled(job: Job) -> list[Event]:
    metadata = Metadata(
        correlation_id=job.correlation_id, trace_parent=job.trace_parent, actor="operator:ana", time=START
    )
    decided = decisions.cancel(job.state, reason="not needed")
    return [Event(job.job_id, job.version + 1, job.tenant, metadata, facts) for facts in decided]


def _repository_with_a_job() -> tuple[LedgerJobRepository, UUID]:
    cases = UseCases()
    job_id = cases.dispatch().job_id
    return LedgerJobRepository(cases.ledger.reader, cases.ledger.writer), job_id


def test_what_was_decided_is_saved_at_the_version_it_was_decided_on() -> None:
    """The events are appended, and the job read again is as they say."""
    repository, job_id = _repository_with_a_job()
    job = repository.get("acme", job_id)
    outcome = repository.save(_cancelled(job), job.version, before=job)
    assert (outcome.status, outcome.version) == (WriteStatus.WRITTEN, 2)
    assert repository.get_many("acme", [job_id])[job_id].state.status is JobStatus.CANCELLED


def test_another_version_is_a_conflict_and_nothing_is_written() -> None:
    """Somebody else moved the job on: whoever decided has to look again."""
    repository, job_id = _repository_with_a_job()
    job = repository.get("acme", job_id)
    outcome = repository.save(_cancelled(job), job.version + 1, before=job)
    assert outcome.status is WriteStatus.CONFLICT
    assert repository.get("acme", job_id) == job
