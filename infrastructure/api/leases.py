"""Leases as workers in any language ask for them, renew them and end them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field

from .jobs import Answer, Number, Request, Whole, few_members

WAIT_SECONDS_MAX = 30.0

_JOB = "0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f"
_WORKER = "billing-7f3a"

Worker = Annotated[
    str,
    Field(
        min_length=1, max_length=100, examples=[_WORKER],
        description="Your name for the worker process, new with each start: leases are held in it.",
    ),
]  # fmt: skip
Attempt = Annotated[Whole, Field(ge=1, examples=[1])]


def _example(**fields: Any) -> ConfigDict:  # noqa: ANN401 - any JSON
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [fields]})


def _shown(**fields: Any) -> ConfigDict:  # noqa: ANN401 - any JSON
    return ConfigDict(extra="ignore", json_schema_extra={"examples": [fields]})


# --- what there is to work on ----------------------------------------------------------------------------------------


class RegisterTypesRequest(Request):
    """Job types of a program without our library: their definitions, as `GET /v1/job-types` shows them."""

    model_config = _example(
        app="billing", code_version="2026.11.3",
        definitions=[
            {
                "name": "invoice.render", "effects": "steps", "options": {"queue": "billing", "timeout_seconds": 120},
                "payload_schema": {
                    "type": "object", "properties": {"invoice_id": {"type": "string"}}, "required": ["invoice_id"],
                },
                "result_schema": {"type": "object"},
            }
        ],
    )  # fmt: skip

    app: Annotated[str, Field(min_length=1, max_length=120)]
    code_version: Annotated[str, Field(min_length=1, max_length=120)]
    definitions: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=100)]


class TypesRegistered(Answer):
    """The types that are new or have changed."""

    model_config = _shown(changed=["invoice.render"], position="5f0c.20480")

    changed: list[str]
    position: str | None


# --- claiming and renewing -------------------------------------------------------------------------------------------


class Wishes(Request):
    """Jobs to work on. `tenants`, `personas` and `types` narrow it; left out, all that the key may have is meant."""

    model_config = _example(queues=["billing"], types=["invoice.send"], limit=1)

    queues: Annotated[list[str], Field(min_length=1, max_length=100)] = Field(default=["default"])
    tenants: Annotated[list[str], Field(min_length=1, max_length=1_000)] | None = None
    personas: Annotated[list[str], Field(min_length=1, max_length=1_000)] | None = Field(
        default=None, description="Of the tenants that are named."
    )
    types: Annotated[list[str], Field(min_length=1, max_length=1_000)] | None = None
    limit: Annotated[
        Whole, Field(ge=1, le=100, description="No more than begin at once: timeouts count from here.")
    ] = 1
    concurrency: Annotated[Whole, Field(ge=1, le=1_000)] | None = Field(
        default=None, description="How many the worker runs at a time: shown with it."
    )
    lease_seconds: Annotated[Number, Field(ge=5, le=3_600)] = 30.0
    code_version: Annotated[str, Field(max_length=200, description="Of the worker: histories show it.")] = ""


class ClaimRequest(Wishes):
    """Jobs to work on. `tenants`, `personas` and `types` narrow it; left out, all that the key may have is meant."""

    model_config = _example(worker=_WORKER, queues=["billing"], types=["invoice.send"], limit=1, wait_seconds=20)

    worker: Worker
    wait_seconds: Annotated[
        Number, Field(ge=0, le=WAIT_SECONDS_MAX, description="How long to wait where there is nothing to do.")
    ] = 0.0


class Step(Answer):
    """A step that an earlier attempt recorded: it is not to be done again."""

    step: str
    key: str
    output: Any


class Lease(Answer):
    """An attempt that has begun. It is yours for as long as you say so with heartbeats, until `deadline` at most."""

    path: Annotated[str, Field(description="Where its reports and its ending go: `<path>/complete` and so on.")]
    job_id: UUID
    tenant: str
    attempt: int
    attempts_allowed: int
    worker: Annotated[str, Field(description="Your identity and the worker's name: as the job's history tells it.")]
    type: str
    queue: str
    persona: str | None
    priority: int
    lease_seconds: float
    started_at: datetime
    soft_deadline: datetime
    deadline: datetime
    timeout_seconds: float
    alone: Annotated[bool, Field(description="It may have killed workers: begin it when nothing else runs.")]
    correlation_id: str
    traceparent: str
    steps: list[Step]
    payload: Any = Field(repr=False)


class Leases(Answer):
    """What a claim brought."""

    model_config = _shown(
        leases=[
            {
                "path": f"/v1/tenants/acme/jobs/{_JOB}/attempts/1", "job_id": _JOB, "tenant": "acme", "attempt": 1,
                "attempts_allowed": 5, "worker": f"key:1a2b3c4d/{_WORKER}", "type": "invoice.send", "queue": "billing",
                "persona": None, "priority": 0, "lease_seconds": 30.0, "started_at": "2026-03-02T12:00:00Z",
                "soft_deadline": "2026-03-02T12:04:30Z", "deadline": "2026-03-02T12:05:00Z", "timeout_seconds": 300.0,
                "alone": False, "correlation_id": "order-77",
                "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "steps": [],
                "payload": {"invoice_id": "42", "email": "a@b.example"},
            }
        ],
        look_again_seconds=None,
    )  # fmt: skip

    leases: list[Lease]
    look_again_seconds: Annotated[
        float | None, Field(description="Where there was nothing: when something becomes due, as far as is known.")
    ]


class Held(Request):
    """An attempt that a worker believes it holds."""

    job_id: UUID
    attempt: Attempt


class HeartbeatRequest(Request):
    """The worker lives and holds these; a job stays in the list until its ending was answered."""

    model_config = _example(worker=_WORKER, held=[{"job_id": _JOB, "attempt": 1}])

    worker: Worker
    held: Annotated[list[Held], Field(max_length=1_000)]


class Verdict(Answer):
    """What became of one of them: `go_on`, `soft_timeout` (come to an end soon), `cancel_requested` (stop, then release
    it), `timed_out` or `lost` (stop: it is not yours any more)."""

    job_id: UUID
    attempt: int
    verdict: str


class Heartbeat(Answer):
    """A verdict on each, in their order. `forgotten`: jobs that you claimed, did not name, and lost by that."""

    model_config = _shown(
        held=[{"job_id": _JOB, "attempt": 1, "verdict": "go_on"}], forgotten=[], lease_seconds=30.0,
        renew_within_seconds=10.0,
    )  # fmt: skip

    held: list[Verdict]
    forgotten: list[UUID]
    lease_seconds: float
    renew_within_seconds: Annotated[float, Field(description="When to send the next one, at the latest.")]


class RetireRequest(Request):
    """The worker ends."""

    model_config = _example(worker=_WORKER)

    worker: Worker


class Retired(Answer):
    """How many jobs it still held, which are ready for others now."""

    model_config = _shown(given_back=0)

    given_back: int


# --- one attempt -----------------------------------------------------------------------------------------------------


class ProgressRequest(Request):
    """How far the work is."""

    model_config = _example(worker=_WORKER, fraction=0.4, note="12 of 30 pages")

    worker: Worker
    fraction: Annotated[Number, Field(ge=0, le=1)]
    note: Annotated[str, Field(max_length=1_000_000)] = ""


class LogRequest(Request):
    """Log lines of the job: many at a time, rather than each by itself."""

    model_config = _example(worker=_WORKER, level="info", lines=["page 1 rendered", "page 2 rendered"])

    worker: Worker
    lines: Annotated[list[str], Field(min_length=1, max_length=1_000)]
    level: Annotated[str, Field(examples=["info"], description="debug, info, warning, error or critical.")] = "info"


class Reported(Answer):
    """`recorded`: false where progress waits for the second to pass, or the log is full. `cancel_requested`: stop."""

    model_config = _shown(recorded=True, cancel_requested=False)

    recorded: bool
    cancel_requested: bool


class StepRequest(Request):
    """A step was done that is never to be done again."""

    model_config = _example(worker=_WORKER, step="charge", output={"charge_id": "ch_1"})

    worker: Worker
    step: Annotated[str, Field(max_length=200)]
    output: Any = None


class StepRecorded(Step):
    """The output in force; `already`: it had been recorded before, and that is what counts."""

    model_config = _shown(step="charge", key=f"{_JOB}/charge", output={"charge_id": "ch_1"}, already=False)

    already: bool


class Usage(Request):
    """What the attempt used, for what it is estimated to cost."""

    cpu_seconds: Annotated[Number, Field(ge=0)] = 0.0
    units: Annotated[
        dict[str, Number], BeforeValidator(few_members), Field(max_length=50, examples=[{"tokens": 812}])
    ] = Field(default={})


class CompleteRequest(Request):
    """The work is done. A result that does not fit the job type fails the attempt."""

    model_config = _example(worker=_WORKER, result={"sent": True}, usage={"cpu_seconds": 0.8, "units": {"tokens": 812}})

    worker: Worker
    result: Any = Field(default=None, repr=False)
    usage: Usage = Usage()
    claim: Wishes | None = Field(
        default=None, description="Once that is recorded, take other jobs with the same request; it never waits."
    )


class FailRequest(Request):
    """The work failed: another attempt follows by the job's policy, or after `retry_after_seconds`, or none."""

    model_config = _example(
        worker=_WORKER, error_type="SmtpError", message="the server said 451", retry_after_seconds=60
    )

    worker: Worker
    error_type: Annotated[str, Field(min_length=1, max_length=1_000)]
    message: Annotated[str, Field(max_length=1_000_000)] = ""
    traceback: Annotated[str, Field(max_length=1_000_000)] | None = Field(default=None, repr=False)
    kind: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="Failures of one kind are shown together. Default: those of one error type."
    )
    retry_after_seconds: Annotated[Number, Field(ge=0)] | None = None
    never_retry: bool = False
    usage: Usage = Usage()


class SnoozeRequest(Request):
    """Not now: the attempt does not count."""

    model_config = _example(worker=_WORKER, delay_seconds=300, reason="the provider is closed until five")

    worker: Worker
    delay_seconds: Annotated[Number, Field(ge=0)]
    reason: Annotated[str, Field(max_length=1_000)] = ""


class ReleaseRequest(Request):
    """The worker cannot go on: the attempt does not count. Where the job was to be cancelled, it is."""

    model_config = _example(worker=_WORKER, reason="shutting down")

    worker: Worker
    reason: Annotated[str, Field(max_length=1_000)] = ""


class AttemptEnded(Answer):
    """How the attempt ended and where the job stands since. `error`: why a result was not taken. `repeated`: it had
    been recorded before, and the same was said once more."""

    model_config = _shown(
        job_id=_JOB, attempt=1, ending="completed", status="completed", error=None, repeated=False,
        position="5f0c.16384",
    )  # fmt: skip

    job_id: UUID
    attempt: int
    ending: str
    status: str
    error: str | None
    repeated: bool
    position: str | None


class AttemptCompleted(AttemptEnded):
    """The same, and what the claim brought that the request asked for."""

    model_config = _shown(
        job_id=_JOB, attempt=1, ending="completed", status="completed", error=None, repeated=False,
        position="5f0c.16384", leases=None,
    )  # fmt: skip

    leases: Annotated[
        list[Lease] | None,
        Field(
            description="None where none was asked for. Where it is empty, claim: that waits, and tells what is wrong."
        ),
    ] = None
