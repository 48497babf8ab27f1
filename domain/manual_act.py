"""Which facts are manual acts: a person (or a program on a person's behalf) intervened, and answers for it.

This is the one place that decides. Every topic is either in `MANUAL` or in `NOT_MANUAL`; a test goes over all of them,
so a new one cannot be forgotten. The outcome of an act (`dlq.bulk_ended`, `projection.rebuilt`, `audit.exported`) is no
second act.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

from .api_key import API_KEY_FACTS
from .audit import AccessAllowed, AccessRefused, AuditExportBegun, AuditExported, BodiesRead
from .dlq import DlqBulkBegun, DlqBulkEnded, DlqBulkProgressed
from .event import Facts
from .job import (
    JOB_FACTS,
    JobCancelled,
    JobCancelRequested,
    JobDiscarded,
    JobDispatched,
    JobFailed,
    JobInterrupted,
    JobRequeued,
    JobRescheduled,
    JobSentToDlq,
    JobStalled,
)
from .job_type import JobTypeRegistered
from .limit import LIMIT_FACTS
from .projection import (
    ProjectionEventSkipped,
    ProjectionFacts,
    ProjectionParkedRetried,
    ProjectionPreviousDropped,
    ProjectionRebuildBegun,
    ProjectionRebuildCancelled,
    ProjectionRebuilt,
    ProjectionSkipWithdrawn,
)
from .refusal import DispatchRefused
from .tenant import TenantCreated, TenantResumed, TenantSuspended

REJECTED_BY_HAND = "rejected-by-hand"
"""The fingerprint of a waiting job that a person sent to the dead-letter queue."""


class ManualAct(NamedTuple):
    """What somebody did, to what, and why. `subject` is empty where it is a job."""

    what: str
    subject: str
    reason: str
    ticket: str | None


class _Kind(NamedTuple):
    what: str
    subject: Callable[[Facts], str]
    applies: Callable[[Facts], bool]


def _no_subject(_: Facts) -> str:
    return ""


def _always(_: Facts) -> bool:
    return True


def _kind(
    what: str, subject: Callable[[Facts], str] = _no_subject, applies: Callable[[Facts], bool] = _always
) -> _Kind:
    return _Kind(what, subject, applies)


def _tenant(facts: Facts) -> str:
    return f"tenant {cast('TenantCreated | TenantSuspended | TenantResumed', facts).name}"


def _view(facts: Facts) -> str:
    return f"projection {cast('ProjectionFacts', facts).projection}"


def _limited(facts: Facts) -> str:
    scope, _, _ = facts.topic.partition(".")
    return f"{scope} {getattr(facts, 'subject', '')}".rstrip()


def _key(facts: Facts) -> str:
    return f"key {getattr(facts, 'key_id', '')}"


def _many_dead(facts: Facts) -> str:
    begun = cast("DlqBulkBegun", facts)
    return f"up to {begun.confirmed:,} dead jobs ({begun.act})"


def _export(facts: Facts) -> str:
    begun = cast("AuditExportBegun", facts)
    return f"history as {begun.format}{', with bodies' if begun.bodies else ''}"


def _by_hand(facts: Facts) -> bool:
    return cast("JobDispatched", facts).manual


def _rejected_by_hand(facts: Facts) -> bool:
    return cast("JobSentToDlq", facts).fingerprint == REJECTED_BY_HAND


def _of_a_waiting_job(facts: Facts) -> bool:
    """One that ends a running attempt was asked for before: `job.cancel_requested` is the act."""
    return cast("JobCancelled", facts).attempt is None


MANUAL: Mapping[type[Facts], _Kind] = {
    JobDispatched: _kind("dispatched by hand", applies=_by_hand),
    JobRescheduled: _kind("rescheduled"),
    JobCancelRequested: _kind("asked to cancel"),
    JobCancelled: _kind("cancelled", applies=_of_a_waiting_job),
    JobSentToDlq: _kind("sent to the DLQ", applies=_rejected_by_hand),
    JobRequeued: _kind("requeued"),
    JobDiscarded: _kind("discarded"),
    DlqBulkBegun: _kind("began a bulk act", _many_dead),
    TenantCreated: _kind("created", _tenant),
    TenantSuspended: _kind("suspended", _tenant),
    TenantResumed: _kind("resumed", _tenant),
    **{facts: _kind(facts.topic.partition(".")[2], _limited) for facts in LIMIT_FACTS},
    ProjectionRebuildBegun: _kind("began to rebuild", _view),
    ProjectionRebuildCancelled: _kind("gave up rebuilding", _view),
    ProjectionPreviousDropped: _kind("dropped the previous version", _view),
    ProjectionEventSkipped: _kind("skipped an event", _view),
    ProjectionSkipWithdrawn: _kind("took back that an event is skipped", _view),
    ProjectionParkedRetried: _kind("retried parked events", _view),
    AuditExportBegun: _kind("began to export", _export),
    BodiesRead: _kind("read bodies"),
    **{facts: _kind(facts.topic.partition(".")[2], _key) for facts in API_KEY_FACTS},
}
"""Facts that are manual acts, or are where `applies` says so."""

NOT_MANUAL: frozenset[type[Facts]] = frozenset(
    {
        *(facts for facts in JOB_FACTS if facts not in MANUAL),
        JobTypeRegistered, DispatchRefused, DlqBulkProgressed, DlqBulkEnded, ProjectionRebuilt, AuditExported,
        AccessAllowed, AccessRefused,
    }
)  # fmt: skip

NOT_MANUAL_TOPICS: frozenset[str] = frozenset(facts.topic for facts in NOT_MANUAL)

BY_HAND_MARK = (JobDispatched.topic, '"manual":true')
"""What a dispatch by hand contains, as it is stored: there are too many others to look into each."""


def depends_on_the_event_before(facts: Facts) -> bool:
    """Whether only the event before it in its stream tells if this is an act: a running job that was asked to cancel is
    cancelled when its attempt fails, stalls or is given back, and those facts look like a waiting job's."""
    return isinstance(facts, JobCancelled) and facts.attempt is None


def manual_act(facts: Facts, before: Facts | None = None) -> ManualAct | None:
    """The act that these facts record; None where nobody intervened. `before` is what the event before it in its
    stream says; it need not be given unless `depends_on_the_event_before`."""
    if isinstance(facts, JobCancelled) and isinstance(before, JobFailed | JobStalled | JobInterrupted):
        return None
    kind = MANUAL.get(type(facts))
    if kind is None or not kind.applies(facts):
        return None
    return ManualAct(kind.what, kind.subject(facts), _reason(facts), getattr(facts, "ticket", None))


def _reason(facts: Facts) -> str:
    if isinstance(facts, JobSentToDlq):
        return facts.message
    return getattr(facts, "reason", None) or ""
