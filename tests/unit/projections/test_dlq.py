"""The dead-letter queue: a row from death until a human decides."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given as for_all
from hypothesis import settings

from jobledger.domain.identifiers import born_at
from jobledger.domain.job import JobRequeued
from jobledger.projections.dlq import DLQ
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.support.given import ABOUT, NOW, discarded, dispatched, failed, sent_to_dlq, started
from tests.support.seen import BEGINNING, JOB, as_seen, fold_all, fold_one, histories, moves

DEATH = (dispatched(), started(), failed(), sent_to_dlq())
REQUEUED = JobRequeued(**ABOUT, reason="fixed", attempts_granted=2, due_at=NOW)


def test_a_dead_job_is_listed_with_why_and_when() -> None:
    """The row holds the reason, the last error and the moment of death; its birth is the one in its id."""
    assert fold_one(DLQ, *DEATH) == {
        "job_id": JOB, "tenant_id": "acme", "persona": "billing-bot", "job_type": "invoice.send", "kind": "work",
        "queue": "billing", "reason": "attempts_exhausted", "error_type": "Broken", "error_message": "it broke",
        "fingerprint": "f", "attempt": 1, "created_at": born_at(JOB), "dead_at": BEGINNING + timedelta(seconds=4),
    }  # fmt: skip


def test_a_human_takes_the_job_out() -> None:
    """Requeued or discarded, the row is gone; the job may die again."""
    assert fold_one(DLQ, *DEATH, REQUEUED) is None
    assert fold_one(DLQ, *DEATH, discarded()) is None
    again = fold_one(DLQ, *DEATH, REQUEUED, started(2), sent_to_dlq(2))
    assert again is not None and (again["attempt"], again["dead_at"]) == (2, BEGINNING + timedelta(seconds=7))


def test_a_job_that_lives_is_not_in_it() -> None:
    """No row for a job whose attempt failed but will be tried again."""
    assert fold_one(DLQ, dispatched(), started(), failed()) is None


@settings(max_examples=100, deadline=None)
@for_all(chosen=moves)
def test_it_holds_exactly_the_jobs_whose_status_is_dlq(chosen: list[tuple[int, str, float]]) -> None:
    """Whatever happened, the DLQ and the tenant's list agree on who is dead."""
    events = as_seen(histories(chosen))
    dead = {key for key, row in fold_all(TENANT_JOBS, events).items() if row["status"] == "dlq"}
    assert fold_all(DLQ, events).keys() == dead
