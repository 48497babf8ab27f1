"""For workers: take jobs, say that they are held, say how they ended.

An ending, a step and a heartbeat may be told again, so they are where an answer got lost. Log lines are not (they would
stand there twice), nor are claims: attempts whose claim was not heard of end by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict, TypeVar, Unpack

from pydantic import BaseModel

from ..api.leases import (
    AttemptEnded,
    ClaimRequest,
    CompleteRequest,
    FailRequest,
    Heartbeat,
    HeartbeatRequest,
    Held,
    Lease,
    Leases,
    LogRequest,
    ProgressRequest,
    ReleaseRequest,
    Reported,
    Retired,
    RetireRequest,
    SnoozeRequest,
    StepRecorded,
    StepRequest,
    Usage,
)
from .core import Core, ask, path
from .exchange import Flow

M = TypeVar("M", bound=BaseModel)


class ClaimOptions(TypedDict, total=False):
    """What narrows a claim; what is absent is: the queue `default`, and all that the key may have."""

    queues: Sequence[str]
    tenants: Sequence[str]
    personas: Sequence[str]
    types: Sequence[str]
    limit: int
    wait_seconds: float
    concurrency: int
    lease_seconds: float
    code_version: str


def claim(core: Core, worker: str, **options: Unpack[ClaimOptions]) -> Flow[Leases]:
    """Take at most `limit` (1) jobs and begin their attempts; where there is none, wait for `wait_seconds` (0, at most
    30). `worker` is your name for the process, new with each start. Jobs are yours for `lease_seconds` (30): send a
    heartbeat before each third of that is over. `concurrency` is how many you run at a time, for `workers.list`.

    `leases` is empty where nothing came; `look_again_seconds` then says when something may, as far as is known.
    """
    said = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    body = ClaimRequest.model_validate({"worker": worker, **said})
    request = core.request("POST", path("leases", "claim"), body=body, extra_seconds=body.wait_seconds)
    return ask(core, request, Leases)


def heartbeat(core: Core, worker: str, held: Iterable[Lease] = ()) -> Flow[Heartbeat]:
    """Say that a worker lives and holds these leases: all whose ending was not answered yet. What to do with each is
    its `verdict`: `go_on`, `soft_timeout`, `cancel_requested` (stop, then `release`), `timed_out` or `lost` (stop).
    The next one is due within `renew_within_seconds`."""
    named = [Held(job_id=lease.job_id, attempt=lease.attempt) for lease in held]
    body = HeartbeatRequest(worker=worker, held=named)
    request = core.request("POST", path("leases", "heartbeat"), body=body)
    return ask(core, request, Heartbeat, repeatable=True)


def retire(core: Core, worker: str) -> Flow[Retired]:
    """End a worker: what it still holds is given back at once."""
    request = core.request("POST", path("leases", "retire"), body=RetireRequest(worker=worker))
    return ask(core, request, Retired, repeatable=True)


# --- one attempt -----------------------------------------------------------------------------------------------------
# All raise `Conflict` (lease_lost) once the attempt has ended otherwise, or is somebody else's.


def progress(core: Core, lease: Lease, fraction: float, note: str = "") -> Flow[Reported]:
    """Say how far the work is (0 to 1); recorded at most once a second. `cancel_requested`: stop."""
    body = ProgressRequest(worker=_name(lease), fraction=fraction, note=note)
    return _tell(core, lease, "progress", body, Reported)


def log(core: Core, lease: Lease, lines: str | Sequence[str], *, level: str = "info") -> Flow[Reported]:
    """Record log lines, many at a time: durable once this returns."""
    body = LogRequest(worker=_name(lease), lines=[lines] if isinstance(lines, str) else list(lines), level=level)
    return _tell(core, lease, "log", body, Reported, repeatable=False)


def step(core: Core, lease: Lease, name: str, output: object = None) -> Flow[StepRecorded]:
    """Record a step that is never to be done again: later attempts find it in `lease.steps`. Of two records the first
    counts: `output` of the answer is the one in force."""
    return _tell(core, lease, "step", StepRequest(worker=_name(lease), step=name, output=output), StepRecorded)


def complete(
    core: Core,
    lease: Lease,
    result: object = None,
    *,
    cpu_seconds: float = 0.0,
    units: Mapping[str, float] | None = None,
) -> Flow[AttemptEnded]:
    """The work is done. `ending` is `failed`, with an `error`, where the result does not fit the job type."""
    body = CompleteRequest(worker=_name(lease), result=result, usage=_usage(cpu_seconds, units))
    return _tell(core, lease, "complete", body, AttemptEnded)


def fail(
    core: Core,
    lease: Lease,
    error_type: str,
    message: str = "",
    *,
    traceback: str | None = None,
    kind: str | None = None,
    retry_after_seconds: float | None = None,
    never_retry: bool = False,
    cpu_seconds: float = 0.0,
    units: Mapping[str, float] | None = None,
) -> Flow[AttemptEnded]:
    """The work failed: another attempt follows by the job's policy or after `retry_after_seconds`, or none. Failures of
    one `kind` are shown together (default: of one error type)."""
    body = FailRequest(
        worker=_name(lease), error_type=error_type, message=message, traceback=traceback, kind=kind,
        retry_after_seconds=retry_after_seconds, never_retry=never_retry, usage=_usage(cpu_seconds, units),
    )  # fmt: skip
    return _tell(core, lease, "fail", body, AttemptEnded)


def snooze(core: Core, lease: Lease, delay_seconds: float, *, reason: str = "") -> Flow[AttemptEnded]:
    """Not now: the job waits for so long, and the attempt does not count."""
    body = SnoozeRequest(worker=_name(lease), delay_seconds=delay_seconds, reason=reason)
    return _tell(core, lease, "snooze", body, AttemptEnded)


def release(core: Core, lease: Lease, *, reason: str = "") -> Flow[AttemptEnded]:
    """Give the attempt back: it does not count. A job that was to be cancelled is cancelled by this."""
    return _tell(core, lease, "release", ReleaseRequest(worker=_name(lease), reason=reason), AttemptEnded)


def _tell(core: Core, lease: Lease, what: str, body: BaseModel, model: type[M], *, repeatable: bool = True) -> Flow[M]:
    where = path("tenants", lease.tenant, "jobs", lease.job_id, "attempts", lease.attempt, what)
    return ask(core, core.request("POST", where, body=body), model, repeatable=repeatable)


def _name(lease: Lease) -> str:
    """The worker's own name: the ledger puts its identity in front."""
    return lease.worker.rpartition("/")[2]


def _usage(cpu_seconds: float, units: Mapping[str, float] | None) -> Usage:
    return Usage(cpu_seconds=cpu_seconds, units=dict(units or {}))
