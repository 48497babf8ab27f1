"""The stable shapes of `--json`: histories, traces, differences, and lists as they were."""

from __future__ import annotations

from jobledger.application.payload_edits import edits_of
from jobledger.application.ports import TracedJob
from jobledger.application.queries import Causes, CausingEvent, JobDiff, JobListAsOf, Revision, Trace
from jobledger.domain.job import JobFacts

from . import jobs as shapes
from .history_pages import HistoryPage
from .jobs import Shape
from .texts import iso


def history(tenant: str, page: HistoryPage, causes: Causes, *, bodies: bool) -> Shape:
    """The answer of `jobs history`; `next` is what `--after` takes, null on the last page. `caused` are the first jobs
    that the job caused, `caused_more` whether there are others."""
    return {
        "tenant": tenant, "job_id": str(causes.job_id), "correlation_id": causes.correlation_id,
        "cause": None if causes.cause is None else cause(causes.cause),
        "events": history_events(page, bodies=bodies), "next": page.next_version,
        "caused": [traced_job(job) for job in causes.caused], "caused_more": causes.more,
        "caused_as_of": shapes.freshness(causes.freshness),
    }  # fmt: skip


def history_events(page: HistoryPage, *, bodies: bool) -> list[Shape]:
    """The events of a page, with their bodies where those were asked for."""
    recorded = [entry.event for entry in page.entries]
    events = [shapes.timeline_entry(entry) for entry in page.entries]
    if bodies:
        events = [{**shape, "body": shapes.body(event.body)} for shape, event in zip(events, recorded, strict=True)]
        edits = edits_of(recorded)
        for shape, event in zip(events, recorded, strict=True):
            if event.originator_version in edits:
                shape["payload_diff"] = [edit._asdict() for edit in edits[event.originator_version]]
    return events


def causes(tenant: str, found: Causes) -> Shape:
    """What caused a job, and the first jobs that it caused; `more`: there are others."""
    return {
        "tenant": tenant, "job_id": str(found.job_id), "correlation_id": found.correlation_id,
        "cause": None if found.cause is None else cause(found.cause),
        "caused": [traced_job(job) for job in found.caused], "more": found.more,
        "freshness": shapes.freshness(found.freshness),
    }  # fmt: skip


def cause(causing: CausingEvent) -> Shape:
    """What directly caused a job; `job_id`, `version` and `topic` are null for a message that no job of the tenant
    recorded."""
    event = causing.event
    is_job = event is not None and isinstance(event.facts, JobFacts)
    return {
        "causation_id": causing.causation_id, "job_id": str(event.originator_id) if event and is_job else None,
        "version": event.originator_version if event and is_job else None, "topic": event.topic if event else None,
    }  # fmt: skip


def traced_job(job: TracedJob) -> Shape:
    """A job of a trace; `job` is its line in the list, null where the list does not show it yet."""
    return {
        "job_id": str(job.job_id), "correlation_id": job.correlation_id, "causation_id": job.causation_id,
        "caused_by": None if job.caused_by is None else str(job.caused_by), "created_at": iso(job.created_at),
        "job": None if job.listed is None else shapes.job_row(job.listed),
    }  # fmt: skip


def trace(tenant: str, found: Trace) -> Shape:
    """The answer of `jobs trace`, flat: `caused_by` makes the tree. `next` is what `--after` takes."""
    refused = [
        {
            "event_id": each.event.event_id, "recorded_at": iso(each.event.recorded_at),
            "actor": each.event.metadata.actor, "caused_by": None if each.caused_by is None else str(each.caused_by),
            **each.event.facts.model_dump(mode="json"),
        }
        for each in found.refused
    ]  # fmt: skip
    return {
        "tenant": tenant, "correlation_id": found.correlation_id, "jobs": [traced_job(job) for job in found.jobs],
        "refused": refused, "next": found.cursor, "more": found.more, "as_of": shapes.freshness(found.freshness),
    }  # fmt: skip


def diff(tenant: str, found: JobDiff) -> Shape:
    """The answer of `jobs diff`. `payload` is null where it is the same; its `places` are null where a body that is not
    there any more hides them, `differences` unless bodies were asked for."""
    payload: Shape | None = None
    if found.payload is not None:
        places, differences = found.payload
        payload = {
            "places": None if places is None else [place.model_dump() for place in places],
            "differences": None if differences is None else [each._asdict() for each in differences],
        }
    return {
        "tenant": tenant, "job_id": str(found.job_id), "from": revision(found.before), "to": revision(found.after),
        "fields": [change._asdict() for change in found.fields], "payload": payload, "topics": list(found.topics),
    }  # fmt: skip


def revision(version: Revision) -> Shape:
    """A version of a job."""
    return {"version": version.version, "recorded_at": iso(version.recorded_at)}


def jobs_as_of(tenant: str, page: JobListAsOf) -> Shape:
    """The answer of `jobs list --as-of`; a page may be short and still have a next one. `as_of` is how current the list
    is that the jobs were taken from."""
    return {
        "tenant": tenant, "past": {"as_of": iso(page.as_of)}, "jobs": [shapes.job_row(row) for row in page.rows],
        "scanned": page.scanned, "next": page.cursor, "as_of": shapes.freshness(page.freshness),
    }  # fmt: skip
