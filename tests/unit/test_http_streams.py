"""Answers that are sent while they are made: what happens when one side stops."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from starlette.requests import Request
from starlette.types import Message

from jobledger.application.commands import BulkReceipt, ItemResult, Receipt
from jobledger.application.result import Accepted
from jobledger.domain.errors import LedgerUnavailable
from jobledger.infrastructure.http.routes.bulk import BulkAnswer, BulkRequest
from jobledger.infrastructure.http.sse import EventStream, Pace

JOB = UUID("0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f")


class Ledger:
    """A caller whose ledger takes so many batches, and then does not answer."""

    def __init__(self, batches: int, error: Exception) -> None:
        self.services = SimpleNamespace(handle=SimpleNamespace(settings=SimpleNamespace(http_body_bytes_max=10_000)))
        self._batches = batches
        self._error = error

    def ask(self, _message_type: object, *, items: list[Any]) -> Accepted[BulkReceipt]:
        """Accept a batch, or not."""
        if not self._batches:
            raise self._error
        self._batches -= 1
        results = tuple(ItemResult(item.line, Accepted(Receipt(JOB, "5f.1"), "5f.1")) for item in items)
        return Accepted(BulkReceipt(len(results), 0, 0, results, "5f.1"), "5f.1")


def answered(*received: Message, batches: int, error: Exception, proved: int = 99) -> tuple[int, list[dict[str, Any]]]:
    """Status and lines of the answer to what is received. Who asks is proved so many times, then no more."""
    messages, sent, proofs = iter(received), [], iter([True] * proved)

    async def is_proved() -> bool:
        return next(proofs, False)

    async def receive() -> Message:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        sent.append(message)

    async def answer() -> None:
        state = {"request_id": "r1"}
        scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b"", "state": state}
        caller: Any = Ledger(batches, error)
        await BulkAnswer(BulkRequest(caller, "acme", Request(scope, receive), is_proved))(scope, receive, send)

    run(answer)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], [json.loads(line) for line in body.splitlines()]


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test in an event loop, within a limit of time."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(limited())


def body(content: bytes, *, more: bool = True) -> Message:
    """A piece of a body."""
    return {"type": "http.request", "body": content, "more_body": more}


LINE = b'{"type": "x"}\n'
GONE = LedgerUnavailable("the password is 1234")


def test_a_bulk_request_that_cannot_even_begin_is_a_problem() -> None:
    """503 and what to do, as for any other request."""
    status, (problem,) = answered(body(LINE * 3, more=False), batches=0, error=GONE)
    assert (status, problem["code"], problem["request_id"]) == (503, "ledger_unavailable", "r1")


@pytest.mark.parametrize(
    ("error", "code"), [(GONE, "ledger_unavailable"), (ZeroDivisionError("1234"), "internal_error")]
)
def test_a_bulk_request_that_breaks_off_says_where(error: Exception, code: str) -> None:
    """What was settled is answered; the last line says why the rest is not, and nothing that is the server's own."""
    status, lines = answered(body(LINE * 2), body(LINE), body(LINE, more=False), batches=2, error=error)
    *settled, last = lines
    assert (status, [line["line"] for line in settled]) == (200, [1, 2, 3])
    summary = last["summary"]
    assert (summary["accepted"], summary["position"], summary["problem"]["code"]) == (3, "5f.1", code)
    assert "1234" not in json.dumps(lines)


def test_a_bulk_request_ends_with_the_key_that_began_it() -> None:
    """What comes after is not dispatched, and the last line says why."""
    status, (first, last) = answered(body(LINE), body(LINE, more=False), batches=9, error=GONE, proved=1)
    assert (status, first["line"], last["summary"]["accepted"]) == (200, 1, 1)
    assert last["summary"]["problem"]["code"] == "unauthenticated"


def test_half_a_line_is_not_carried_out() -> None:
    """Where the connection is lost before a line's end, it is none, though it may look like one."""
    status, lines = answered(body(LINE + LINE.strip()), batches=9, error=GONE)
    assert (status, [line.get("line") for line in lines]) == (200, [1, None])


def test_who_takes_nothing_of_what_is_sent_is_cut() -> None:
    """A stream of events does not wait for him without end."""

    async def told() -> AsyncIterator[bytes]:
        yield b": 1\n\n"
        yield b": 2\n\n"
        raise AssertionError("nobody took the last one")

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("he is still there")

    async def test() -> None:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)
            if len(sent) == 3:
                await asyncio.Event().wait()

        await EventStream(told(), Pace(send_seconds=0.01))({"type": "http", "path": "/"}, receive, send)
        assert len(sent) == 3

    run(test)
