"""Asking about the past of jobs: lists as they were at a moment, and what changed between two versions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from pydantic import JsonValue

from jobledger.domain.difference import changes, differences
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobRequeued

from .body_reads import BodyReads
from .dispatcher import Dispatcher
from .flow import Flow
from .job_repository import brings_payload, no_such_job
from .job_streams import JobStreams
from .page_keys import cursor_of, key_of
from .past_jobs import list_row, matches, up_to
from .ports import EventReader, Freshness, JobFilter, JobListRow, JobPage, JobViews, PageKey, ViewName
from .queries import (
    DiffJob,
    FieldChange,
    JobDiff,
    JobListAsOf,
    ListJobsAsOf,
    PayloadChange,
    Revision,
)
from .reading import Reading, body_versions, details_of
from .result import Accepted

SCAN_MAX = 1_000
"""Streams that a page of a list as of a moment folds, at most."""
BEGINNING = 200
"""Events that are read of a stream with others, at once: mostly all. A longer one is read by itself."""
_CHUNK = 50
"""Streams read at once."""


class Investigating:
    """The handlers of `ListJobsAsOf` and `DiffJob`."""

    def __init__(self, *, reading: Reading, reader: EventReader, views: JobViews, body_reads: BodyReads) -> None:
        self._reading = reading
        self._body_reads = body_reads
        self._reader = reader
        self._streams = JobStreams(reader)
        self._views = views

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the queries of this module."""
        dispatcher.register(ListJobsAsOf, self.jobs_as_of)
        dispatcher.register(DiffJob, self.diff)

    # --- lists -------------------------------------------------------------------------------------------------------

    def jobs_as_of(self, query: ListJobsAsOf, flow: Flow) -> Accepted[JobListAsOf]:
        """A page of jobs as they were: enumerated by their creation, each folded up to the moment."""
        self._reading.wait(
            query, query.tenant, ViewName.TENANT_JOBS if query.persona is None else ViewName.PERSONA_JOBS
        )
        scan = _Scan(query)
        freshness: Freshness | None = None
        while True:
            page = self._jobs_until(query, scan)
            freshness = freshness or page.freshness
            streams = self._reader.beginnings(query.tenant, [row.job_id for row in page.rows], limit=BEGINNING)
            is_full = any(
                scan.take(row, self._until(query, row.job_id, streams.get(row.job_id, ()))) for row in page.rows
            )
            if is_full or page.next is None or scan.scanned >= SCAN_MAX:
                break
        at_end = page.next is None and (not page.rows or scan.last == page.rows[-1].job_id)
        cursor = None if at_end else cursor_of(scan.after)
        return Accepted(JobListAsOf(tuple(scan.rows), cursor, freshness, query.as_of, scan.scanned))

    def _jobs_until(self, query: ListJobsAsOf, scan: _Scan) -> JobPage:
        limit = min(_CHUNK, SCAN_MAX - scan.scanned)
        if query.persona is None:
            return self._views.tenant_jobs(query.tenant, scan.enumerated, after=scan.after, limit=limit)
        return self._views.persona_jobs(query.tenant, query.persona, scan.enumerated, after=scan.after, limit=limit)

    def _until(self, query: ListJobsAsOf, job_id: UUID, beginning: Sequence[RecordedEvent]) -> Sequence[RecordedEvent]:
        """The events of a job up to the moment; of a long one those that decide."""
        past = up_to(beginning, query.as_of)
        if len(past) < BEGINNING:
            return past
        return self._streams.then(query.tenant, job_id, query.as_of).events

    # --- differences -------------------------------------------------------------------------------------------------

    def diff(self, query: DiffJob, flow: Flow) -> Accepted[JobDiff]:
        """What changed from one version of a job to another. A read of bodies is recorded before they are shown."""
        job_id = self._reading.find(query, query.tenant, query.job)
        before = self._streams.job(query.tenant, job_id, until_version=query.from_version)
        if not before:
            raise no_such_job(query.tenant, query.job)
        last = self._streams.require_version(query.tenant, job_id, query.from_version, field="from_version")
        to_version = query.to_version or last
        self._streams.require_version(query.tenant, job_id, to_version, field="to_version")
        after = self._streams.job(query.tenant, job_id, until_version=to_version)
        between = sorted((query.from_version, to_version))
        payload, versions = self._payload_change(query, before, after)
        self._body_reads.record(query.tenant, job_id, versions, flow)
        return Accepted(
            JobDiff(
                job_id, _revision(before), _revision(after), _changed_fields(before, after),
                payload, tuple(self._reader.topics(query.tenant, job_id, *between)),
            )
        )  # fmt: skip

    def _payload_change(
        self, query: DiffJob, before: Sequence[RecordedEvent], after: Sequence[RecordedEvent]
    ) -> tuple[PayloadChange | None, tuple[int, ...]]:
        """How the payload differs, and the versions of the bodies whose values that shows."""
        brought = [[event for event in events if brings_payload(event)] for events in (before, after)]
        old, new = (events[-1] for events in brought)
        if old.metadata.body_sha256 == new.metadata.body_sha256:
            return None, ()
        recorded = new.facts.payload_changes if isinstance(new.facts, JobRequeued) else None
        if recorded is not None and len(brought[1]) == len(brought[0]) + 1 and not query.bodies:
            return PayloadChange(recorded), ()  # the edit itself says so: no body has to be looked at
        read = [self._reading.last_body(query.tenant, events) for events in brought]
        bodies = [event.body for event in read if event is not None and event.body is not None]
        if len(bodies) < len(read):
            return PayloadChange(None), ()
        found = tuple(differences(json.loads(bodies[0]), json.loads(bodies[1])))
        if not query.bodies:
            return PayloadChange(changes(found)), ()
        return PayloadChange(changes(found), found), body_versions(read)


class _Scan:
    """How far a page of a list as of a moment has come."""

    def __init__(self, query: ListJobsAsOf) -> None:
        self._query = query
        until = query.as_of + timedelta(microseconds=1)
        created_to = until if query.created_to is None else min(until, query.created_to)
        self.enumerated: JobFilter = query.where._replace(status=None, failed=None, created_to=created_to)
        """What the list of today filters: what never changes of a job."""
        self.after: PageKey | None = key_of(query.cursor)
        self.last: UUID | None = None
        self.rows: list[JobListRow] = []
        self.scanned = 0

    def take(self, listed: JobListRow, events: Sequence[RecordedEvent]) -> bool:
        """Look at a job by its events up to the moment; whether the page is full then."""
        self.scanned += 1
        self.after, self.last = PageKey(listed.created_at, listed.job_id), listed.job_id
        if events and matches(row := list_row(listed.job_id, listed.tenant, events), self._query.where):
            self.rows.append(row)
        return len(self.rows) >= self._query.limit


def _revision(events: Sequence[RecordedEvent]) -> Revision:
    return Revision(events[-1].originator_version, events[-1].recorded_at)


def _changed_fields(before: Sequence[RecordedEvent], after: Sequence[RecordedEvent]) -> tuple[FieldChange, ...]:
    old, new = _fields(before), _fields(after)
    return tuple(FieldChange(name, old[name], new[name]) for name in new if old[name] != new[name])


def _fields(events: Sequence[RecordedEvent]) -> dict[str, JsonValue]:
    """What may change of a job, under the names that answers in JSON have for it."""
    job = details_of(events)
    state = job.state
    return {
        "status": state.status.value, "failed": job.failed, "priority": state.priority, "due_at": _iso(state.due_at),
        "attempt": state.attempt, "attempts_counted": state.attempts_counted,
        "attempts_allowed": state.attempts_allowed, "stalls": state.stalls, "worker": state.worker,
        "cancel_reason": state.cancel_reason, "started_at": _iso(job.started_at),
        "completed_at": _iso(job.completed_at), "error_type": state.last_error_type or None,
        "error_message": state.last_error_message or None, "error_fingerprint": state.last_fingerprint or None,
        "progress": job.progress, "estimated_cost": job.estimated_cost,
    }  # fmt: skip


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
