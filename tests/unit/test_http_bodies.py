"""Bodies: how large they may be, what is told of those with a million mistakes, and numbers that are none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.types import Message, Receive, Scope, Send

from jobledger.infrastructure.api import dlq, leases, queues
from jobledger.infrastructure.api.jobs import DispatchRequest, RescheduleRequest
from jobledger.infrastructure.http.context import OTHER_BYTES_MAX, RequestContext
from jobledger.infrastructure.http.json_body import MISTAKES_MAX, READ_AT_ONCE_BYTES, json_body
from jobledger.infrastructure.http.moments import When
from jobledger.infrastructure.http.problem_documents import ApiError
from jobledger.infrastructure.metrics.requests import RequestTally

JOBS = "/v1/tenants/acme/jobs"
ATTEMPT = f"{JOBS}/0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f/attempts/1"


async def _reading(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads all it is sent."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def status_of(path: str, size: int, *, told: bool = True, media_type: str = "application/json") -> int:
    """How a body of a size is answered."""

    async def posted() -> int:
        context: Any = RequestContext(_reading, body_bytes_max=4 * OTHER_BYTES_MAX, requests=RequestTally())

        async def pieces() -> Any:  # noqa: ANN401 - an iterator without a length
            for _ in range(size // 10_000):
                yield b" " * 10_000

        headers = {"Content-Type": media_type}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(context), base_url="http://jobs.test") as client:
            return (await client.post(path, content=b" " * size if told else pieces(), headers=headers)).status_code

    return asyncio.run(posted())


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(
    "path", [JOBS, f"{JOBS}/bulk", f"{JOBS}/x/requeue", f"{ATTEMPT}/complete", f"{ATTEMPT}/step", "/v1/job-types",
             "/tenants/acme/jobs/x/edit"],
)  # fmt: skip
def test_what_holds_payloads_may_be_as_large_as_is_set(path: str, told: bool) -> None:
    """And no larger."""
    assert status_of(path, 4 * OTHER_BYTES_MAX, told=told) == 204
    assert status_of(path, 4 * OTHER_BYTES_MAX + 10_000, told=told) == 413


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("path", ["/v1/keys", "/v1/leases/claim", f"{JOBS}/x/cancel", f"{ATTEMPT}/release", "/login"])
def test_what_holds_none_is_smaller(path: str, told: bool) -> None:
    """A megabyte is more than enough."""
    assert status_of(path, OTHER_BYTES_MAX, told=told) == 204
    assert status_of(path, OTHER_BYTES_MAX + 10_000, told=told) == 413


def test_only_bulk_requests_are_as_long_as_they_like() -> None:
    """Whatever others call themselves."""
    sizes = {"size": 8 * OTHER_BYTES_MAX, "media_type": "application/jsonl"}
    assert status_of(f"{JOBS}/bulk", **sizes) == 204  # type: ignore[arg-type]
    assert {status_of(path, **sizes) for path in (JOBS, "/v1/keys", "/v1/tenants/a/b/jobs/bulk")} == {413}  # type: ignore[arg-type]


def encoding_of(method: str, path: str, size: int) -> str | None:
    """How an answer of a size is encoded, for whoever takes gzip."""

    async def answering(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a" * size})

    async def asked() -> str | None:
        context: Any = RequestContext(answering, body_bytes_max=OTHER_BYTES_MAX, requests=RequestTally())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(context), base_url="http://jobs.test") as client:
            answer = await client.request(method, path, headers={"Accept-Encoding": "gzip"})
            assert answer.content == b"a" * size
            encoding: str | None = answer.headers.get("content-encoding")
            return encoding

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("method", "path"), [("GET", JOBS), ("POST", "/v1/leases/claim"), ("POST", f"{ATTEMPT}/complete"), ("PUT", "/v1/x")]
)
def test_what_is_large_is_compressed(method: str, path: str) -> None:
    """Whatever was asked: a claim may bring a hundred payloads."""
    assert (encoding_of(method, path, 2_000), encoding_of(method, path, 500)) == ("gzip", None)


def test_a_dispatch_does_without() -> None:
    """Its answers are small, and even to find that out costs."""
    assert encoding_of("POST", JOBS, 2_000) is None


# --- what is in them -------------------------------------------------------------------------------------------------


def read(body: bytes) -> DispatchRequest:
    """What a body asks for."""
    pieces: Iterator[Message] = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        return next(pieces)

    scope = {"type": "http", "headers": [(b"content-type", b"application/json")]}
    return asyncio.run(json_body(Request(scope, receive), DispatchRequest))


def test_a_large_body_is_read_as_a_small_one() -> None:
    """Beside the event loop."""
    body = b'{"type": "x", "payload": {"text": "%s"}}' % (b"a" * READ_AT_ONCE_BYTES)
    assert len(read(body).payload["text"]) == READ_AT_ONCE_BYTES


def test_mistakes_are_listed_as_long_as_there_are_few() -> None:
    """Of a million there is one sentence: to list them takes seconds."""
    with pytest.raises(RequestValidationError) as few:
        read(b'{"type": "x", "one": 1, "two": 2, "priority": "high"}')
    assert len(few.value.errors()) == 3
    many = b",".join(b'"m%d": 0' % number for number in range(MISTAKES_MAX + 1))
    with pytest.raises(ApiError) as counted:
        read(b'{"type": "x", %s}' % many)
    assert (counted.value.error_code, counted.value.field) == ("invalid_input", "body")
    assert f"{MISTAKES_MAX + 1:,}" in counted.value.message


MANY: dict[str, Any] = {f"m{number}": "x" for number in range(1_000)}


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (leases.ProgressRequest, MANY), (leases.RegisterTypesRequest, MANY), (dlq.RequeueRequest, MANY),
        (queues.LimitsRequest, {"rate": MANY}), (leases.CompleteRequest, {"worker": "w", "usage": {"units": MANY}}),
        (leases.LogRequest, {"worker": "w", "lines": [0] * 5_000}),
        (leases.HeartbeatRequest, {"worker": "w", "held": [0] * 5_000}),
    ],
)  # fmt: skip
def test_no_body_makes_as_many_mistakes_as_it_has_members(model: Any, body: dict[str, Any]) -> None:  # noqa: ANN401
    """An object with too many members is one mistake, and so is a list that is too long."""
    with pytest.raises(ValidationError) as wrong:
        model.model_validate(body)
    assert wrong.value.error_count() <= 3


@pytest.mark.parametrize("given", [True, "7"])
@pytest.mark.parametrize(
    ("model", "field"),
    [
        (DispatchRequest, "priority"), (DispatchRequest, "delay_seconds"), (DispatchRequest, "timeout_seconds"),
        (DispatchRequest, "max_stalled"), (RescheduleRequest, "priority"), (leases.ClaimRequest, "limit"),
        (leases.ClaimRequest, "wait_seconds"), (leases.ProgressRequest, "fraction"), (leases.Held, "attempt"),
        (leases.SnoozeRequest, "delay_seconds"), (dlq.RequeueRequest, "attempts"), (queues.LimitsRequest, "weight"),
        (dlq.BulkDiscardRequest, "expected_count"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_not_taken_for_one(model: Any, field: str, given: object) -> None:  # noqa: ANN401
    """`true` is not 1, and "7" is a text."""
    with pytest.raises(ValidationError) as wrong:
        model.model_validate({field: given})
    assert (field,) in {error["loc"] for error in wrong.value.errors()}
    assert field not in {error["loc"][0] for error in _mistakes(model, field)}


def _mistakes(model: Any, field: str) -> list[Any]:  # noqa: ANN401
    try:
        model.model_validate({field: 1})
    except ValidationError as error:
        return list(error.errors())
    return []


@pytest.mark.parametrize(
    "given", ["1", "1767225600", "17672.5", "-1", "1e3", " 6.1e-274", "0001-01-01T00:00:00Z", "2026-01-01T00:00:00"]
)
def test_a_number_in_an_address_is_no_time(given: str) -> None:
    """Nor is what no zone has, or what has no zone."""
    with pytest.raises(ValidationError):
        TypeAdapter(When).validate_python(given)


@pytest.mark.parametrize("given", [5, 5.5, "5", "1e3", True])
def test_a_number_in_a_body_is_no_time(given: object) -> None:
    """The document says that it is a text: nothing runs in 1970 because somebody counted seconds."""
    with pytest.raises(ValidationError) as wrong:
        DispatchRequest.model_validate({"type": "a", "run_at": given})
    assert [error["loc"] for error in wrong.value.errors()] == [("run_at",)]
