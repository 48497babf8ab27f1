"""Connections: how long a server waits for what a request still lacks, on a clock that a test sets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from jobledger.infrastructure.http.connections import PATIENCE, Guarded, Patience, guarded
from jobledger.infrastructure.http.server import Server

HEAD = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
JSON_LINES = HEAD.replace(b"application/json", b"application/jsonl")
WHOLE = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
KILOBYTES = b"x" * 20_000


class Wire(asyncio.Transport):
    """The other side of a connection: what was sent to it, and whether it is still there."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.unsent = 0
        self.closed = self.aborted = False

    @property
    def status(self) -> int | None:
        """That of the answer; None where there is none."""
        return int(self.sent.split(b" ")[1]) if self.sent else None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

    def close(self) -> None:
        """Closed."""
        self.closed = True

    def abort(self) -> None:
        """Closed at once."""
        self.closed = self.aborted = True

    def get_write_buffer_size(self) -> int:
        """What nobody has taken yet."""
        return self.unsent

    def pause_reading(self) -> None:
        """Nobody sends by himself here."""

    def resume_reading(self) -> None:
        """Nobody sends by himself here."""


class Served:
    """One server: its connections, and an application that answers once it is told to, and reads if it is to."""

    def __init__(self, *, reads: bool = True, connections_max: int = 10) -> None:
        self.may_answer = asyncio.Event()
        self.answered = asyncio.Event()
        self._reads = reads
        self._config = uvicorn.Config(
            self._answer, interface="asgi3", proxy_headers=False, log_config=None, lifespan="off", ws="none"
        )  # fmt: skip
        self._config.load()
        self._state = ServerState()
        self._protocol: Any = guarded(connections_max)

    def connect(self) -> tuple[Guarded, Wire]:
        """Another connection."""
        made, wire = self._protocol(self._config, self._state, {}), Wire()
        made.connection_made(wire)
        return made, wire

    async def _answer(self, _scope: Scope, receive: Receive, send: Send) -> None:
        if self._reads:
            while (await receive()).get("more_body"):
                pass
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        self.answered.set()


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test in an event loop, within a limit of time."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(limited())


async def settled() -> None:
    """Everything that can go on has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


def clock() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


def test_a_head_that_never_ends_is_cut() -> None:
    """Byte for byte it may come, but all of it in time."""

    async def test() -> None:
        connection, wire = Served().connect()
        now = clock()
        for second in range(1, 9):
            connection.data_received(WHOLE[second - 1 : second])
            connection.look(now + second)
        assert not wire.closed
        connection.look(now + PATIENCE.head_seconds + 1)
        assert wire.status == 408 and b'"code":"too_slow"' in wire.sent

    run(test)


def test_a_connection_without_any_request_is_cut() -> None:
    """It is not kept for one that may come; browsers open such, and are told nothing."""

    async def test() -> None:
        connection, wire = Served().connect()
        connection.look(clock() + PATIENCE.head_seconds + 1)
        assert (wire.closed, wire.sent) == (True, b"")

    run(test)


def test_a_connection_that_is_used_again_and_again_is_kept() -> None:
    """Each request has the time that the first one had."""

    async def test() -> None:
        served = Served()
        served.may_answer.set()
        connection, wire = served.connect()
        now = clock()
        for second in range(1, 60):
            served.answered = asyncio.Event()
            connection.data_received(WHOLE)
            await served.answered.wait()
            connection.look(now + second)
        assert not wire.closed

    run(test)


def test_the_head_of_a_second_request_is_cut_as_that_of_the_first() -> None:
    """A connection that had an answer is no safer."""

    async def test() -> None:
        served = Served()
        served.may_answer.set()
        connection, wire = served.connect()
        connection.data_received(WHOLE)
        await served.answered.wait()
        now = clock()
        for second in range(1, 30):
            connection.data_received(WHOLE[second - 1 : second])
            if not wire.closed:
                connection.look(now + second)
        assert wire.closed

    run(test)


def test_the_rest_of_a_body_that_was_answered_is_not_waited_for() -> None:
    """Nobody reads it: it may not trickle for ever."""

    async def test() -> None:
        served = Served(reads=False)
        served.may_answer.set()
        connection, wire = served.connect()
        connection.data_received(HEAD)
        await served.answered.wait()
        now, sent = clock(), len(wire.sent)
        for second in range(1, 30):
            connection.data_received(b" ")
            connection.look(now + second)
        assert wire.closed
        assert len(wire.sent) == sent, "it has its answer"

    run(test)


def test_a_body_that_trickles_is_cut() -> None:
    """A byte a second is not enough."""

    async def test() -> None:
        connection, wire = Served().connect()
        connection.data_received(HEAD)
        await settled()
        now = clock()
        for second in range(1, 60):
            connection.data_received(b" ")
            await settled()
            connection.look(now + second)
        assert (wire.closed, wire.status) == (True, 408)

    run(test)


def test_a_body_that_comes_at_a_pace_is_taken() -> None:
    """However long it takes."""

    async def test() -> None:
        connection, wire = Served().connect()
        connection.data_received(HEAD)
        await settled()
        now = clock()
        for half_minute in range(1, 20):
            connection.data_received(KILOBYTES)
            await settled()
            connection.look(now + half_minute * PATIENCE.body_seconds)
        assert not wire.closed

    run(test)


def test_json_lines_may_come_slowly_but_have_to_come() -> None:
    """A line now and then is enough; nothing at all is cut."""

    async def test() -> None:
        connection, wire = Served().connect()
        connection.data_received(JSON_LINES)
        await settled()
        now = clock()
        for second in range(1, 1_000):
            if second % 20 == 0:
                connection.data_received(b"{}\n")
                await settled()
            connection.look(now + second)
        assert not wire.closed
        for second in range(1_000, 1_100):
            connection.look(now + second)
        assert wire.closed

    run(test)


def test_who_waits_for_his_answer_is_not_cut() -> None:
    """It is the server that takes its time: also where it has not asked yet for the rest of a body."""

    async def test() -> None:
        served = Served(reads=False)
        waiting, sending = served.connect(), served.connect()
        waiting[0].data_received(WHOLE)
        sending[0].data_received(HEAD.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        flooding = served.connect()
        flooding[0].data_received(HEAD + KILOBYTES * 4)
        await settled()
        now = clock()
        for second in range(1, 1_000):
            for connection, _ in (waiting, sending, flooding):
                connection.look(now + second)
        assert not any(wire.closed for _, wire in (waiting, sending, flooding))

    run(test)


def test_who_takes_nothing_of_what_is_sent_is_cut_off() -> None:
    """An answer does not stay in memory for ever."""

    async def test() -> None:
        served = Served()
        connection, wire = served.connect()
        connection.data_received(WHOLE)
        await settled()
        now, wire.unsent = clock(), 5_000
        for second in range(1, 50):
            wire.unsent -= 1
            connection.look(now + second)
        assert not wire.closed
        connection.look(now + 50 + PATIENCE.taken_seconds)
        assert wire.aborted

    run(test)


def test_one_connection_too_many_is_told_so() -> None:
    """503, and when to come back; once another has gone there is room."""

    async def test() -> None:
        served = Served(connections_max=2)
        (first, _), (_, second) = served.connect(), served.connect()
        extra, refused = served.connect()
        assert refused.closed and not second.closed
        assert refused.status == 503 and b"\r\nRetry-After: 1\r\n" in refused.sent
        sent = refused.sent
        extra.data_received(WHOLE)
        assert refused.sent == sent
        extra.connection_lost(None)
        first.connection_lost(None)
        assert not served.connect()[1].closed

    run(test)


def test_a_server_looks_after_its_connections() -> None:
    """Over a real socket: half a head is cut while nothing else happens."""

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("no request was ever whole")

    nothing = SimpleNamespace(close=lambda: None)
    settings = SimpleNamespace(http_connections_max=10)
    served: Any = app
    served.state = SimpleNamespace(
        services=SimpleNamespace(handle=SimpleNamespace(settings=settings), waiting=nothing, feed=nothing)
    )
    server = Server(served, host="127.0.0.1")
    server.patience, server.look_seconds = Patience(head_seconds=0.01), 0.01
    with closing(server):
        server.start()
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(WHOLE[:10])
            assert connection.recv(1_000).startswith(b"HTTP/1.1 408 ")
