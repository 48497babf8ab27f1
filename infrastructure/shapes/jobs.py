"""The stable shapes of `--json`: names, types and units that programs may depend on."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime

from jobledger.application.commands import JobChanged
from jobledger.application.limit_messages import Explanation, LimitHistory, QueueOverview, TargetChanged
from jobledger.application.past_jobs import Past
from jobledger.application.ports import DlqRow, Freshness, HorizonHold, JobListRow, WorkerRow
from jobledger.application.queries import JobDetails
from jobledger.application.writes import JobTypeRow, LimitRow, TenantRow
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.job import JobStatus
from jobledger.domain.limit import FlowState, Target

from .texts import iso
from .timeline import Entry

Shape = dict[str, object]

_OPEN = (JobStatus.PENDING, JobStatus.DELAYED, JobStatus.BLOCKED, JobStatus.IN_PROGRESS, JobStatus.DLQ)


def job_row(row: JobListRow) -> Shape:
    """One line of `jobs list`."""
    shape: Shape = {**row._asdict(), "job_id": str(row.job_id), "status": row.status.value}
    shape["type"] = shape.pop("job_type")
    for name in ("created_at", "updated_at", "due_at", "started_at", "completed_at"):
        shape[name] = iso(getattr(row, name))
    return shape


def dlq_row(row: DlqRow) -> Shape:
    """One line of `dlq list`."""
    shape: Shape = {
        **row._asdict(), "job_id": str(row.job_id), "created_at": iso(row.created_at), "dead_at": iso(row.dead_at),
    }  # fmt: skip
    shape["type"] = shape.pop("job_type")
    return shape


def freshness(fresh: Freshness) -> Shape:
    """How current a list is; `lag_positions` 0 means that it holds everything that can be read. `parked` events are not
    in it. `hold` is the open transaction that nothing newer can be read before the end of; null mostly."""
    return {
        "position": fresh.position, "head": fresh.head, "lag_positions": max(0, fresh.head - fresh.position),
        "recorded_at": iso(fresh.recorded_at), "parked": fresh.parked, "hold": _hold(fresh.hold),
    }  # fmt: skip


def _hold(hold: HorizonHold | None) -> Shape | None:
    if hold is None:
        return None
    return {
        **hold._asdict(), "since": iso(hold.since), "seconds": round(hold.seconds, 3),
        "waiting_since": iso(hold.waiting_since),
    }  # fmt: skip


def timeline_entry(entry: Entry) -> Shape:
    """One line of `jobs history`; `seconds` since the event before it, null for the first; `attempt_seconds` from the
    start of the attempt that the event ended."""
    event = entry.event
    return {
        "event_id": event.event_id, "version": event.originator_version, "position": event.position,
        "topic": event.topic, "recorded_at": iso(event.recorded_at), "seconds": entry.seconds,
        "attempt_seconds": entry.attempt_seconds, "actor": event.metadata.actor,
        "authenticated": event.metadata.authenticated, "on_behalf_of": event.metadata.on_behalf_of,
        "address": event.metadata.address, "request_id": event.metadata.request_id,
        "correlation_id": event.metadata.correlation_id, "causation_id": event.causation_id,
        "trace_id": event.metadata.trace_id, "why": entry.why,
        "facts": event.facts.model_dump(mode="json"),
    }  # fmt: skip


def details(job: JobDetails) -> Shape:
    """The answer of `jobs show`."""
    state = job.state
    return {
        "job_id": str(job.job_id), "tenant": job.tenant, "version": job.version, "type": state.job_type,
        "kind": state.kind, "status": state.status.value, "failed": job.failed, "persona": state.persona,
        "queue": state.queue, "priority": state.priority, "attempt": state.attempt,
        "attempts_counted": state.attempts_counted, "attempts_allowed": state.attempts_allowed,
        "stalls": state.stalls, "retry": state.retry.model_dump(mode="json"), "timeout_seconds": state.timeout_seconds,
        "soft_timeout_seconds": state.soft_timeout_seconds, "worker": state.worker, "lock_key": state.lock_key,
        "limit_key": state.limit_key,
        "cancel_reason": state.cancel_reason, "due_at": iso(state.due_at), "created_at": iso(job.created_at),
        "updated_at": iso(job.updated_at), "started_at": iso(job.started_at), "completed_at": iso(job.completed_at),
        "error_type": state.last_error_type or None, "error_message": state.last_error_message or None,
        "error_fingerprint": state.last_fingerprint or None, "progress": job.progress,
        "estimated_cost": job.estimated_cost, "idempotency_key": job.idempotency_key, "actor": job.actor,
        "authenticated": job.authenticated,
        "correlation_id": job.correlation_id, "trace_parent": job.trace_parent, "payload": body(job.payload),
        "result": body(job.result), "past": past(job.past),
    }  # fmt: skip


def past(shown: Past | None) -> Shape | None:
    """That a job is shown as it was (null: as it is); `as_of` is what was asked for, a version or a time."""
    if shown is None:
        return None
    as_of = iso(shown.as_of) if isinstance(shown.as_of, datetime) else shown.as_of
    return {"as_of": as_of, "later_events": shown.later_events, "until": iso(shown.until)}


def changed(job: JobChanged) -> Shape:
    """What a command made of a job."""
    return {"job_id": str(job.job_id), "status": job.status.value, "version": job.version}


def tenant(row: TenantRow, state: FlowState) -> Shape:
    """One line of `tenants list`."""
    return {
        "name": row.name, "status": row.status.value, "display_name": row.display_name, **flow_state(state),
    }  # fmt: skip


def target(named: Target) -> Shape:
    """What is limited or paused; `tenant` is null for a queue, which is everybody's."""
    tenant = None if named.tenant == SYSTEM_TENANT else named.tenant
    return {"scope": named.scope.value, "tenant": tenant, "name": named.subject}


def flow_state(state: FlowState) -> Shape:
    """Limits (null: none; `rate` as `count` in `seconds`), and whether it is paused."""
    return {**state.limits.model_dump(mode="json"), "paused": state.paused}


def limit(row: LimitRow) -> Shape:
    """One line of `limits list`."""
    return {**target(row.target), **flow_state(row.state)}


def target_changed(changed: TargetChanged) -> Shape:
    """What a command made of a target; `changed` is false where it was so already."""
    return {
        **target(changed.target), **flow_state(changed.state), "changed": changed.changed, "remark": changed.remark,
    }  # fmt: skip


def limit_history(past: LimitHistory, entries: Sequence[Entry]) -> Shape:
    """The answer of `limits history`; `next` is what `--after` takes, null on the last page."""
    return {
        **target(past.target), **flow_state(past.state), "events": [timeline_entry(entry) for entry in entries],
        "next": past.next_version,
    }  # fmt: skip


def queue(row: QueueOverview) -> Shape:
    """One line of `queues list`; jobs of all tenants."""
    jobs = {status.value: row.jobs.get(status, 0) for status in _OPEN}
    return {"queue": row.queue, **flow_state(row.state), "jobs": jobs, "job_types": list(row.job_types)}


def holds(explanation: Explanation) -> list[Shape]:
    """Why a job waits; `used` of `allowed` where a limit is reached, `job_id` where another job is in the way."""
    return [
        {
            "kind": hold.kind.value, "text": hold.text, "target": None if hold.target is None else target(hold.target),
            "used": hold.used, "allowed": hold.allowed, "job_id": None if hold.job_id is None else str(hold.job_id),
        }
        for hold in explanation.holds
    ]  # fmt: skip


def explanation(tenant: str, found: Explanation) -> Shape:
    """The answer of `jobs explain`."""
    return {
        "tenant": tenant, "job_id": str(found.job_id), "status": found.status.value, "account": found.account,
        "since": iso(found.since), "waits_for": holds(found),
    }  # fmt: skip


def worker(row: WorkerRow) -> Shape:
    """One line of `workers`; `running_by_type` counts jobs whose handler runs, `held` those whose ending is not
    durable yet."""
    beat, report = row.heartbeat, row.heartbeat.report
    return {
        "worker": beat.worker, "app": report.app, "host": report.host, "pid": report.pid,
        "code_version": beat.code_version, "queues": list(beat.queues), "tenants": list(report.tenants),
        "personas": list(report.personas), "slots": beat.concurrency, "slots_used": beat.running,
        "slots_quarantined": report.quarantined, "held": report.held, "running_by_type": report.running_by_type,
        "cpu_seconds": report.cpu_seconds, "cpu_load": report.cpu_load, "rss_bytes": report.rss_bytes,
        "clock_skew_seconds": report.clock_skew_seconds, "lost": row.is_lost, "started_at": iso(row.started_at),
        "last_seen_at": iso(row.last_seen_at), "seconds_since_seen": round(row.seconds_since_seen, 3),
        "lease_seconds": beat.lease_seconds,
    }  # fmt: skip


def job_type(row: JobTypeRow) -> Shape:
    """One line of `types list`."""
    return {
        **row.definition.model_dump(mode="json"), "fingerprint": row.fingerprint, "code_version": row.code_version,
        "app": row.app,
    }  # fmt: skip


def body(content: bytes | None) -> object:
    """A body as JSON where it is JSON, else as text, else as `{"base64": ...}`; null where there is none."""
    if content is None:
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}
    try:
        return json.loads(text)
    except ValueError:
        return text
