"""Event streams: what is read from them, and how they go on."""

from __future__ import annotations

from itertools import islice

import httpx
import pytest

from jobledger.client import NotFound, Unreachable
from jobledger.infrastructure.client.lines import Lines

from .scripted import JOB, Script, client_of, event, positions, problem, stream, told

CUT = httpx.ReadError("connection reset")
OVER = httpx.Response(204)


def last_ids(script: Script) -> list[str | None]:
    """Where each connection went on."""
    return [request.headers.get("Last-Event-ID") for request in script.requests]


def test_a_stream_goes_on_where_it_ended() -> None:
    """After the last event that arrived whole; one that was cut off comes again."""
    half = told("i.3")[:40]
    script = Script(stream(told("i.1"), told("i.2"), half), CUT, problem(503), stream(told("i.3")), OVER)
    assert positions(client_of(script).events()) == ["i.1", "i.2", "i.3"]
    assert last_ids(script) == [None, "i.2", "i.2", "i.2", "i.3"]
    assert script.pauses == [0.1, 0.2, 0.4, 0.1]


def test_how_far_a_silent_stream_is_read_is_remembered() -> None:
    """An id without an event says that nothing before it is missing; comments say nothing."""
    script = Script(stream("retry: 1000\nid: i.7\n\n", ": still here\nid: i.9\n\n", ": still here\n\n"), OVER)
    assert list(client_of(script).jobs.events(JOB)) == []
    assert last_ids(script) == [None, "i.9"]


def test_it_begins_after_a_position() -> None:
    """Nothing between two programs that go on after each other is missed."""
    script = Script(stream(told("i.5")), OVER)
    seen = client_of(script).events(type="a", topics=["job.dispatched", "job.started"], after="i.4")
    assert positions(seen) == ["i.5"]
    assert last_ids(script) == ["i.4", "i.5"]
    assert script.requests[0].url.params.multi_items() == [
        ("type", "a"), ("topic", "job.dispatched"), ("topic", "job.started"),
    ]  # fmt: skip


def test_what_json_may_hold_ends_no_line() -> None:
    """Of all characters only a line feed does."""
    why = "one\u2028two\x85three"
    (seen,) = client_of(Script(stream(told("i.1", why=why)), OVER)).events()
    assert seen.why == why


def test_a_refusal_is_told() -> None:
    """What will not be otherwise in a moment is not asked for again."""
    script = Script(problem(404, "not_found"))
    with pytest.raises(NotFound):
        next(client_of(script).jobs.events(JOB))
    assert len(script.requests) == 1


def test_it_gives_up_where_nobody_is_there() -> None:
    """After the deadline without a line; each line begins it anew."""
    script = Script(stream(told("i.1")), httpx.ConnectError("refused"))
    events = client_of(script, deadline_seconds=10).events()
    assert positions(islice(events, 1)) == ["i.1"]
    with pytest.raises(Unreachable):
        next(events)
    assert 5 <= sum(script.pauses) < 10


def test_a_stream_that_is_left_is_closed() -> None:
    """With the iterator."""
    closed: list[bool] = []

    class Endless(httpx.SyncByteStream):
        def __iter__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204
            while True:
                yield told("i.1").encode()

        def close(self) -> None:
            closed.append(True)

    client = client_of(Script(OVER))
    client._http._transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Endless()))
    events = client.events()
    assert next(events).position == event("i.1")["position"]
    assert not closed
    events.close()
    assert closed == [True]


@pytest.mark.parametrize("size", [1, 2, 3, 1_000])
def test_lines_are_whole_whatever_arrives(size: int) -> None:
    """Cut anywhere, in the middle of a character, too; what has no end yet is no line."""
    written = "one\r\ntw\u00f6\n\n\u2028three\nrest".encode()
    lines, found = Lines(), []
    for at in range(0, len(written), size):
        lines.feed(written[at : at + size])
        while (line := lines.take()) is not None:
            found.append(line)
    assert found == ["one", "tw\u00f6", "", "\u2028three"]
