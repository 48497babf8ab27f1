"""The stable shapes of `--json` of the dead-letter queue's commands."""

from __future__ import annotations

from jobledger.application.dlq_messages import BulkActOfDlq, DeadJob, DlqBulkDone, DlqCount
from jobledger.domain.dlq import BulkAct, DlqFilter

from . import jobs as shapes
from .jobs import Shape
from .texts import iso


def counted(found: DlqCount) -> Shape:
    """What a filter matches; an act on just these names `count`, and `until` in its filter."""
    shape = count("requeue", found, "")
    return {
        "tenant": found.tenant, "count": shape["jobs"], "freshness": shape["as_of"],
        **{name: shape[name] for name in _COUNTED},
    }  # fmt: skip


_COUNTED = ("filter", "groups", "group_count", "first_dead_at", "last_dead_at", "until", "sample")


def result(done: DlqBulkDone) -> Shape:
    """What became of the jobs."""
    troubles = [{**trouble._asdict(), "job_id": str(trouble.job_id)} for trouble in done.troubles]
    return {**done._asdict(), "troubles": troubles}


def act_result(found: BulkActOfDlq) -> Shape:
    """The same, as the ledger has it: `troubles` null, because which jobs were refused is not on record."""
    ended = found.ended
    assert ended is not None
    return {
        "act": ended.act, "event_id": found.event_id, "confirmed": found.begun.confirmed, "changed": ended.changed,
        "skipped": ended.skipped, "refused": ended.refused, "troubles": None, "position": None,
    }  # fmt: skip


def count(act: BulkAct, found: DlqCount, command: str) -> Shape:
    """What a filter matches; `confirm` is the command that acts on just these."""
    summary = found.summary
    groups = [{**group._asdict(), "type": group.job_type, "cause": group.reason} for group in summary.groups]
    for group in groups:
        del group["job_type"], group["reason"]
    return {
        "tenant": found.tenant, "act": act, "filter": where(found.where), "jobs": summary.jobs, "groups": groups,
        "group_count": summary.group_count, "first_dead_at": iso(summary.first_dead_at),
        "last_dead_at": iso(summary.last_dead_at), "until": iso(found.until),
        "sample": [shapes.dlq_row(row) for row in found.sample], "as_of": shapes.freshness(summary.freshness),
        "confirm": command if summary.jobs else None,
    }  # fmt: skip


def done(tenant: str, filtered: DlqFilter, made: DlqBulkDone) -> Shape:
    """What became of the jobs; `event_id` is the act's own record, the cause of each job's event; null where
    nothing matched, so that nothing was done."""
    return {"tenant": tenant, "filter": where(filtered), **result(made)}


def act(found: BulkActOfDlq) -> Shape:
    """One line of `dlq history`. Without an end, it goes on, or its process died: that says every five seconds that it
    goes on."""
    begun, ended = found.begun, found.ended
    return {
        "event_id": found.event_id, "act": begun.act, "begun_at": iso(found.begun_at), "actor": found.actor,
        "reason": begun.reason, "ticket": begun.ticket, "attempts_granted": begun.attempts_granted,
        "filter": where(begun.filter), "confirmed": begun.confirmed, "ended_at": iso(found.ended_at),
        "last_seen_at": iso(found.last_seen_at),
        "changed": None if ended is None else ended.changed, "skipped": None if ended is None else ended.skipped,
        "refused": None if ended is None else ended.refused, "finished": None if ended is None else ended.finished,
    }  # fmt: skip


def dead_job(dead: DeadJob) -> Shape:
    """The answer of `dlq show`."""
    attempts = [
        {**attempt._asdict(), "started_at": iso(attempt.started_at), "ended_at": iso(attempt.ended_at)}
        for attempt in dead.attempts
    ]
    return {
        **shapes.details(dead.job), "dead_at": iso(dead.died_at), "cause": dead.death.reason,
        "error_type": dead.death.error_type, "error_message": dead.death.message,
        "error_fingerprint": dead.death.fingerprint, "times_requeued": dead.times_requeued, "attempts": attempts,
        "traceback": shapes.body(dead.traceback),
    }  # fmt: skip


def where(filtered: DlqFilter) -> Shape:
    """A filter, with the names of the command line; null does not filter."""
    return {
        "type": filtered.job_type, "kind": filtered.kind, "queue": filtered.queue, "persona": filtered.persona,
        "cause": filtered.reason, "error_type": filtered.error_type, "fingerprint": filtered.fingerprint,
        "since": iso(filtered.dead_from), "until": iso(filtered.dead_to),
    }  # fmt: skip
