"""What is written to a connection in one turn of its loop is sent together."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from jobledger.infrastructure.http.joined_writes import JoinedWrites


class Recorded(asyncio.Transport):
    """A transport that keeps each write, as the system would send it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.ended: str | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.sent.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        """Nothing of it waits."""
        return 0

    def close(self) -> None:
        """Remember that."""
        self.ended = "closed"

    def abort(self) -> None:
        """Remember that."""
        self.ended = "aborted"


def sent(act: Callable[[JoinedWrites], None]) -> tuple[list[bytes], str | None]:
    """What was sent of what is written in one turn, and how the connection ended."""
    recorded = Recorded()

    async def turn() -> None:
        act(JoinedWrites(recorded, asyncio.get_running_loop()))
        await asyncio.sleep(0)

    asyncio.run(turn())
    return recorded.sent, recorded.ended


def _two(joined: JoinedWrites) -> None:
    joined.write(b"head")
    joined.write(b"")
    joined.write(b"body")
    assert joined.get_write_buffer_size() == 8


def _large(joined: JoinedWrites) -> None:
    joined.write(b"head")
    joined.write(b"x" * 100_000)
    joined.write(b"end")


def _closed(joined: JoinedWrites) -> None:
    joined.write(b"last words")
    joined.close()


def _aborted(joined: JoinedWrites) -> None:
    joined.write(b"last words")
    joined.abort()


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (_two, ([b"headbody"], None)),
        (_large, ([b"head", b"x" * 100_000, b"end"], None)),
        (_closed, ([b"last words"], "closed")),
        (_aborted, ([], "aborted")),
    ],
)
def test_what_is_sent(act: Callable[[JoinedWrites], None], expected: tuple[list[bytes], str | None]) -> None:
    """In order, all of it unless it is aborted; what is large is not copied first."""
    assert sent(act) == expected


def test_turns_are_sent_one_by_one_over_a_real_socket() -> None:
    """What comes later is not held up by what was there before; and the rest of a transport is still there."""
    ours, theirs = socket.socketpair()

    async def talk() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        joined = JoinedWrites(transport, loop)
        reader, writer = await asyncio.open_connection(sock=theirs)
        for number in range(3):
            joined.write(b"%d" % number)
            joined.write(b"\n")
            assert await reader.readline() == b"%d\n" % number
        assert joined.get_extra_info("socket") is not None
        joined.close()
        assert joined.is_closing()
        assert await reader.read() == b""
        writer.close()

    asyncio.run(asyncio.wait_for(talk(), 60))
