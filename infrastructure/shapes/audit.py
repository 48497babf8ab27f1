"""The stable shapes of what auditors ask."""

from __future__ import annotations

from jobledger.application.audit_messages import ExportRecord, RecordedAct

from .jobs import Shape
from .texts import iso


def act(recorded: RecordedAct) -> Shape:
    """One line of `audit actions`."""
    said = recorded.act
    return {
        "event_id": recorded.event_id, "position": recorded.position, "recorded_at": iso(recorded.recorded_at),
        "tenant": recorded.tenant, "actor": recorded.actor, "authenticated": recorded.authenticated,
        "topic": recorded.topic, "act": said.what, "subject": _subject(recorded), "reason": said.reason,
        "ticket": said.ticket, "job_id": None if recorded.job_id is None else str(recorded.job_id),
        "cause": recorded.cause,
    }  # fmt: skip


def export(record: ExportRecord) -> Shape:
    """What the ledger says of an export; `ended` null: it goes on, or broke off."""
    begun, ended = record.begun, record.ended
    return {
        "begun_at": iso(record.begun_at), "actor": record.actor, "format": begun.format, "bodies": begun.bodies,
        "reason": begun.reason,
        "query": {
            "from": iso(begun.query.recorded_from), "to": iso(begun.query.recorded_to),
            "topics": list(begun.query.types), "actor": begun.query.actor,
        },
        "ended": None if ended is None else {
            "events": ended.events, "first_position": ended.first_position, "last_position": ended.last_position,
            "sha256": ended.sha256,
        },
    }  # fmt: skip


def _subject(recorded: RecordedAct) -> str:
    return recorded.act.subject or (f"job {recorded.job_id}" if recorded.job_id else "")
