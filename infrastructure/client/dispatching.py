"""Dispatching: one job, or many with a result each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypedDict, Unpack
from uuid import uuid4

from pydantic import BaseModel, TypeAdapter, ValidationError

from ..api.bulk import MEDIA_TYPE as JSON_LINES
from ..api.bulk import BulkAccepted, BulkRefused, BulkSummary
from ..api.jobs import Dispatched, DispatchRequest
from ..api.problems import Problem
from .core import TRY_AGAIN, Core, answered, ask, backoff_seconds, json_of
from .errors import ApiProblem, ClientError, Unreadable, error_of
from .exchange import END, Answer, Emit, Emits, Flow, Pause, Pull

BATCH_ITEMS = 500
BATCH_BYTES = 4_000_000
"""A batch is sent when it has so many items or bytes: what is asked again after a lost answer."""

Payload = Mapping[str, object] | BaseModel


class JobOptions(TypedDict, total=False):
    """Options of one job; what is absent comes from its type, its queue or the installation."""

    persona: str
    queue: str
    priority: int
    retry: dict[str, Any]
    timeout_seconds: float
    soft_timeout_seconds: float
    max_stalled: int
    lock_key: str
    limit_key: str
    run_at: datetime
    delay_seconds: float
    correlation_id: str
    causation_id: str


class ItemResult(NamedTuple):
    """What became of one item; `number` counts from 1. Either there is an `error`, or a job."""

    number: int
    job: Dispatched | None
    error: ApiProblem | None

    def unwrap(self) -> Dispatched:
        """The job. Raises the error."""
        if self.job is None:
            assert self.error is not None
            raise self.error
        return self.job


_LINE: TypeAdapter[BulkAccepted | BulkRefused | BulkSummary] = TypeAdapter(BulkAccepted | BulkRefused | BulkSummary)


def dispatch(
    core: Core,
    job_type: str,
    payload: Payload | None = None,
    *,
    tenant: str | None = None,
    idempotency_key: str | None = None,
    **options: Unpack[JobOptions],
) -> Flow[Dispatched]:
    """Dispatch a job: it is durable once this returns, and there is one of it, however often it had to be asked.

    With an `idempotency_key` the same key gives the first job back, from any program and at any time.
    """
    given = {"idempotency_key": idempotency_key, **options}
    asked = DispatchRequest.model_validate({
        "type": job_type, "payload": _plain(payload),
        **{name: value for name, value in given.items() if value is not None},
    })  # fmt: skip
    request = core.request("POST", core.place(tenant, "jobs"), body=_repeatable(asked))
    return (yield from ask(core, request, Dispatched, repeatable=True))


def dispatch_many(core: Core, tenant: str | None) -> Emits[ItemResult]:
    """Dispatch what is pulled, in batches, and emit a result each, in their order."""
    where, number, ended = core.place(tenant, "jobs", "bulk"), 0, False
    while not ended:
        lines: list[bytes] = []
        left_bytes = BATCH_BYTES
        while len(lines) < BATCH_ITEMS and left_bytes > 0 and not ended:
            item: Any = yield Pull()
            if item is END:
                ended = True
            else:
                lines.append(json_of(_repeatable(item)) + b"\n")
                left_bytes -= len(lines[-1])
        yield from _batch(core, where, lines, number)
        number += len(lines)


def _batch(core: Core, where: str, lines: list[bytes], before: int) -> Emits[ItemResult]:
    """Dispatch what fits into one request. Where the answer breaks off, the rest is asked for again."""
    deadline, attempt = core.monotonic() + core.deadline_seconds, 0
    while lines:
        attempt += 1
        request = core.request(
            "POST", where, body=b"".join(lines), headers={"Content-Type": JSON_LINES}, accept=JSON_LINES
        )
        answer = yield from answered(core, request, repeatable=True)
        results, problem = _results(answer, before)
        for result in results:
            yield Emit(result)
        lines, before = lines[len(results) :], before + len(results)
        if not lines:
            return
        broken: ClientError = Unreadable(f"no results of {len(lines)} items") if problem is None else error_of(problem)
        again = problem is None or problem.status in TRY_AGAIN
        pause = backoff_seconds(core, attempt)
        if not again or core.monotonic() + pause >= deadline:
            raise broken
        yield Pause(pause)


def _repeatable(asked: DispatchRequest) -> DispatchRequest:
    """The same with a key of its own, so that it can be sent again: one that holds only where neither the caller nor
    the job type gives one."""
    return asked if asked.idempotency_key is not None else asked.model_copy(update={"request_key": uuid4().hex})


def _results(answer: Answer, before: int) -> tuple[list[ItemResult], Problem | None]:
    """What became of the first lines that were sent, and why the others were not looked at."""
    results: list[ItemResult] = []
    for text in answer.content.splitlines():
        try:
            line = _LINE.validate_json(text)
        except ValidationError as error:
            raise Unreadable("a line of an answer that is no result") from error
        if isinstance(line, BulkSummary):
            return results, line.summary.problem
        if line.line != len(results) + 1:
            raise Unreadable("results in another order than the items")
        results.append(_result(before + line.line, line))
    return results, None


def _result(number: int, line: BulkAccepted | BulkRefused) -> ItemResult:
    if isinstance(line, BulkRefused):
        return ItemResult(number, None, error_of(line.problem))
    return ItemResult(number, Dispatched(job_id=line.job_id, duplicate=line.duplicate, position=line.position), None)


def _plain(payload: Payload | None) -> dict[str, Any]:
    if isinstance(payload, BaseModel):
        return payload.model_dump(mode="json", by_alias=True)
    return dict(payload or {})
