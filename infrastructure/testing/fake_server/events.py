"""Live events. What has happened is told, then the connection ends: while a client reads, nothing happens."""

from __future__ import annotations

import json
from uuid import UUID

from jobledger.application.positions import Positions
from jobledger.application.queries import GetJob
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobFacts

from ...shapes.events import live_event
from .asked import Asked, Reply

_ALL = 2**31


def follow_job(asked: Asked) -> Reply:
    """GET the events of a job."""
    asked.ask(GetJob, tenant=asked.tenant, job=asked.job)
    return _told(asked, asked.job)


def follow_jobs(asked: Asked) -> Reply:
    """GET the events of a tenant's jobs."""
    return _told(asked, None)


def _told(asked: Asked, job: UUID | None) -> Reply:
    """What has happened since. Where that is nothing, and the workers have nothing to do either, nothing will: status
    204 tells a client not to come back."""
    reader = asked.reader
    positions, given = Positions(reader), asked.header("Last-Event-ID") or asked.one("after")
    begun = (0 if job else reader.head()) if given is None else positions.number(given)
    events = _events(asked, job, begun)
    if not events and given is not None:
        asked.work()
        events = _events(asked, job, begun)
        if not events:
            return Reply(b"", 204)
    told = [f"id: {positions.text(begun)}\n\n"]
    for event in events:
        position = positions.text(event.position) or ""
        told.append(f"id: {position}\ndata: {json.dumps(live_event(event, position))}\n\n")
    return Reply("".join(told).encode(), media_type="text/event-stream")


def _events(asked: Asked, job: UUID | None, after: int) -> list[RecordedEvent]:
    wanted = {"job_type": asked.one("type"), "queue": asked.one("queue"), "persona": asked.one("persona")}
    topics = asked.many("topic")

    def is_wanted(event: RecordedEvent) -> bool:
        facts = event.facts
        return (
            isinstance(facts, JobFacts)
            and job in (None, event.originator_id)
            and (not topics or event.topic in topics)
            and all(value is None or getattr(facts, name) == value for name, value in wanted.items())
        )

    read = asked.reader.read_tenant(asked.tenant, after, limit=_ALL).events
    return [event for event in read if is_wanted(event)]
