"""What people may do to a job from its page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from jobledger.application.commands import CancelJob, DiscardJob, JobChanged, RequeueJob, RescheduleJob
from jobledger.application.message import Message
from jobledger.application.queries import JobDetails
from jobledger.domain.errors import InvalidInput, ReasonRequired
from jobledger.domain.identity import Permission
from jobledger.domain.job import WAITING, JobStatus

from .services import Visitor

Field = Callable[[str], str]


class Act(NamedTuple):
    """Something that can be done to a job. `explained` says what will come of it, `done` that it was done."""

    name: str
    title: str
    explained: str
    done: str
    message: type[Message[JobChanged]]
    permission: Permission
    statuses: frozenset[JobStatus]


ACTS: Final = {
    act.name: act
    for act in (
        Act("cancel", "Cancel", "A job that waits is cancelled; one that runs is asked to stop.",
            "Cancelling was asked for.", CancelJob, Permission.OPERATE, WAITING | {JobStatus.IN_PROGRESS}),
        Act("reschedule", "Reschedule", "Runs at another time, or with another priority.",
            "The job was rescheduled.", RescheduleJob, Permission.OPERATE, WAITING),
        Act("requeue", "Requeue", "Takes the job out of the dead-letter queue, with new attempts.",
            "The job was requeued.", RequeueJob, Permission.REQUEUE, frozenset({JobStatus.DLQ})),
        Act("discard", "Discard", "Gives the job up for good. Its history stays.",
            "The job was discarded.", DiscardJob, Permission.OPERATE, frozenset({JobStatus.DLQ})),
    )
}  # fmt: skip


def acts_for(job: JobDetails) -> list[Act]:
    """What can be done to a job as it is."""
    asked = job.state.cancel_reason is not None
    return [act for act in ACTS.values() if job.status in act.statuses and not (act.name == "cancel" and asked)]


def permitted(visitor: Visitor, tenant: str, job: JobDetails) -> list[Act]:
    """What this visitor may do of that."""
    return [act for act in acts_for(job) if visitor.may(act.permission, tenant, job.state.queue)]


def carry_out(visitor: Visitor, act: Act, tenant: str, job: str, sent: Field) -> str | None:
    """Do it, for the reason that was given; the position it reached. Raises the refusal."""
    reason = sent("reason")
    if not reason:
        raise ReasonRequired(f"{act.name}ing a job")
    more: dict[str, object] = {}
    if act.name == "reschedule":
        more = {"priority": number(sent, "priority"), "due_at": _moment(sent)}
    elif act.name == "requeue":
        more = {"attempts": number(sent, "attempts")}
    if act.name in ("requeue", "discard"):
        more["ticket"] = sent("ticket") or None
    return visitor.ask(act.message, tenant=tenant, job=job, reason=reason, **more).position


def number(sent: Field, name: str) -> int | None:
    """A whole number in a form; None where nothing was entered."""
    text = sent(name)
    if not text:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise InvalidInput("that is no whole number", field=name, rule="is a whole number") from error


def _moment(sent: Field) -> datetime | None:
    text = sent("due_at")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput("that is no time", field="due_at", rule="2026-03-01T09:30, in UTC") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
