"""The stable shapes of what workers in any language are told."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json, to_json

from jobledger.application.lease_messages import AttemptEnded, Claimed, LeasedJob, LeasesRenewed, StepRecorded

from .jobs import Shape

_BODY_NAMES = {
    "job_types": "types", "type": "types", "cpu_seconds": "usage.cpu_seconds", "units": "usage.units"
}  # fmt: skip
"""Members of bodies that messages name otherwise."""


def claimed(found: Claimed) -> Shape:
    """What a claim brought; `look_again_seconds` where that is nothing."""
    return {
        "leases": [lease(job) for job in found.jobs],
        "look_again_seconds": None if found.jobs else found.look_again_seconds,
    }


def lease(job: LeasedJob) -> Shape:
    """An attempt that has begun."""
    return {
        "path": f"/v1/tenants/{job.tenant}/jobs/{job.job_id}/attempts/{job.attempt}", "job_id": job.job_id,
        "tenant": job.tenant, "attempt": job.attempt, "attempts_allowed": job.attempts_allowed, "worker": job.worker,
        "type": job.job_type, "queue": job.queue, "persona": job.persona, "priority": job.priority,
        "lease_seconds": job.lease_seconds, "started_at": job.started_at, "soft_deadline": job.soft_deadline,
        "deadline": job.deadline, "timeout_seconds": job.timeout_seconds, "alone": job.alone,
        "correlation_id": job.correlation_id, "traceparent": job.trace_parent,
        "steps": [{"step": one.step, "key": one.key, "output": plain(one.output)} for one in job.steps],
        "payload": plain(job.payload),
    }  # fmt: skip


def renewed(found: LeasesRenewed) -> Shape:
    """A verdict on each attempt that was named."""
    return {
        "held": [{"job_id": one.job_id, "attempt": one.attempt, "verdict": str(one.verdict)} for one in found.held],
        "forgotten": found.forgotten, "lease_seconds": found.lease_seconds,
        "renew_within_seconds": found.renew_within_seconds,
    }  # fmt: skip


def step(name: str, recorded: StepRecorded) -> Shape:
    """The output in force."""
    return {"step": name, "key": recorded.key, "output": plain(recorded.output), "already": recorded.already}


def ended(attempt: AttemptEnded, position: str | None) -> Shape:
    """How an attempt ended, and where the job stands since."""
    return {
        **attempt._asdict(), "ending": attempt.ending.removeprefix("job."), "status": str(attempt.status),
        "position": position,
    }  # fmt: skip


def plain(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    """What a body holds. Python programs record numbers that JSON has not; here they are null."""
    value = from_json(body)
    return from_json(to_json(value, inf_nan_mode="null")) if b"NaN" in body or b"Infinity" in body else value


def body_field(field: str | None) -> str | None:
    """The member of a body that a message's field came with."""
    name, dot, rest = (field or "").partition(".")
    return f"{_BODY_NAMES.get(name, name)}{dot}{rest}" or None
