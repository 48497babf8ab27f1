"""Every topic is, by decision, a manual act or none; an act says what was done, why, and under which ticket."""

from __future__ import annotations

from uuid import UUID

import pytest

from jobledger.domain import job, limit
from jobledger.domain.audit import AuditExportBegun, AuditQuery, BodiesRead
from jobledger.domain.dlq import DlqBulkBegun, DlqFilter
from jobledger.domain.event import Facts
from jobledger.domain.manual_act import (
    MANUAL,
    NOT_MANUAL,
    NOT_MANUAL_TOPICS,
    REJECTED_BY_HAND,
    depends_on_the_event_before,
    manual_act,
)
from jobledger.domain.projection import ProjectionRebuildBegun
from jobledger.domain.tenant import TenantSuspended
from jobledger.domain.topics import ALL_FACTS
from tests.support.given import ABOUT, NOW

JOB = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


@pytest.mark.parametrize("facts", ALL_FACTS, ids=lambda facts: facts.topic)
def test_it_is_decided_of_every_topic(facts: type[Facts]) -> None:
    """A new topic goes into `MANUAL` or `NOT_MANUAL`, never into both."""
    assert (facts in MANUAL) != (facts in NOT_MANUAL)
    assert (facts.topic in NOT_MANUAL_TOPICS) == (facts not in MANUAL)


def test_nothing_is_decided_of_what_there_is_not() -> None:
    """No entry outlives its topic."""
    assert {*MANUAL, *NOT_MANUAL} == set(ALL_FACTS)


@pytest.mark.parametrize("facts", MANUAL, ids=lambda facts: facts.topic)
def test_an_act_that_needs_a_reason_has_a_place_for_it(facts: type[Facts]) -> None:
    """All but a read of bodies and a bare DLQ, whose message is the reason."""
    has_reason = "reason" in facts.model_fields
    assert has_reason or facts is BodiesRead


@pytest.mark.parametrize(
    ("facts", "what", "subject", "reason", "ticket"),
    [
        (job.JobRequeued(**ABOUT, reason="gateway fixed", ticket="OPS-1", attempts_granted=3, due_at=NOW),
         "requeued", "", "gateway fixed", "OPS-1"),
        (job.JobDiscarded(**ABOUT, reason="obsolete"), "discarded", "", "obsolete", None),
        (job.JobDispatched(**ABOUT, due_at=NOW, manual=True, reason="by hand"),
         "dispatched by hand", "", "by hand", None),
        (job.JobCancelled(**ABOUT, reason="not needed"), "cancelled", "", "not needed", None),
        (job.JobCancelRequested(**ABOUT, attempt=1, reason="too slow"), "asked to cancel", "", "too slow", None),
        (job.JobSentToDlq(**ABOUT, reason="unrecoverable", attempt=0, error_type="RejectedByHand",
                          message="wrong customer", fingerprint=REJECTED_BY_HAND),
         "sent to the DLQ", "", "wrong customer", None),
        (DlqBulkBegun(act="requeue", filter=DlqFilter(), confirmed=1_200, reason="r", ticket="T"),
         "began a bulk act", "up to 1,200 dead jobs (requeue)", "r", "T"),
        (TenantSuspended(name="acme", reason="unpaid"), "suspended", "tenant acme", "unpaid", None),
        (limit.QueuePaused(subject="mail", reason="provider down"), "paused", "queue mail", "provider down", None),
        (limit.TenantUnpaused(subject="acme", reason="ok"), "unpaused", "tenant acme", "ok", None),
        (ProjectionRebuildBegun(projection="tenant_jobs", reason="doubt", fold_version=1),
         "began to rebuild", "projection tenant_jobs", "doubt", None),
        (AuditExportBegun(query=AuditQuery(), format="csv", bodies=True, reason="audit 2026"),
         "began to export", "history as csv, with bodies", "audit 2026", None),
        (BodiesRead(job_id=JOB, versions=(1,)), "read bodies", "", "", None),
    ],
    ids=lambda value: value.topic if isinstance(value, Facts) else "",
)  # fmt: skip
def test_an_act_says_what_to_what_and_why(facts: Facts, what: str, subject: str, reason: str, ticket: str) -> None:
    """With the ticket, where one was given."""
    assert manual_act(facts) == (what, subject, reason, ticket)


@pytest.mark.parametrize(
    "facts",
    [
        job.JobDispatched(**ABOUT, due_at=NOW),
        job.JobCancelled(**ABOUT, attempt=1, reason="too slow"),
        job.JobSentToDlq(**ABOUT, reason="attempts_exhausted", attempt=3, error_type="E", message="m", fingerprint="f"),
        job.JobCompleted(**ABOUT, attempt=1, worker="w", seconds_in_queue=0.0, seconds_running=0.0),
    ],
    ids=lambda facts: facts.topic,
)
def test_what_programs_do_is_no_act(facts: Facts) -> None:
    """Also where the same topic may be one."""
    assert manual_act(facts) is None


def test_a_cancellation_that_was_asked_for_is_no_second_act() -> None:
    """A running job that was asked to cancel ends when its attempt fails; who asked has been listed."""
    cancelled = job.JobCancelled(**ABOUT, reason="too slow")
    assert depends_on_the_event_before(cancelled)
    assert manual_act(cancelled, before=job.JobInterrupted(**ABOUT, attempt=1, worker="w", why="shutdown")) is None
    assert manual_act(cancelled, before=job.JobReleased(**ABOUT, dependency=JOB)) is not None
    assert not depends_on_the_event_before(job.JobCancelled(**ABOUT, attempt=1, reason="too slow"))
