"""JSON Lines in pieces, and answers that wait for their reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from jobledger.infrastructure.http.json_lines import Line, LineSplitter, Spool, batches


def whole(content: bytes, bytes_max: int) -> list[Line]:
    """The lines of a content that is there as a whole."""
    numbered = enumerate(content.split(b"\n"), start=1)
    return [Line(n, text if len(text) <= bytes_max else None) for n, text in numbered if text.strip()]


@given(
    st.lists(st.sampled_from([b"", b" ", b"\r", b"{}", b"abc", b"abcdefgh", b"\xff" * 20]), max_size=20),
    st.lists(st.integers(min_value=0, max_value=200), max_size=20),
)
def test_lines_are_the_same_however_they_come(parts: list[bytes], cuts: list[int]) -> None:
    """Wherever the content is cut, and with an end or without one; what is too long has a number and no text."""
    content = b"\n".join(parts)
    places = sorted({0, len(content), *(min(cut, len(content)) for cut in cuts)})
    splitter = LineSplitter(bytes_max=8)
    lines = [line for begin, end in pairwise(places) for line in splitter.lines(content[begin:end])]
    assert [*lines, *splitter.last()] == whole(content, 8)


def test_batches_are_bounded_and_not_waited_for() -> None:
    """So many lines at most; fewer where no more have come."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"1\n2\n3\n4\n5\n"
        yield b"6\n7"
        yield b"8"

    async def collected() -> list[Sequence[Line]]:
        return [batch async for batch in batches(pieces(), bytes_max=10, lines_max=2)]

    texts = [[line.text for line in batch] for batch in asyncio.run(collected())]
    assert texts == [[b"1", b"2"], [b"3", b"4"], [b"5"], [b"6"], [b"78"]]


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test in an event loop, within a limit of time."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(limited())


def test_a_writer_never_waits_for_a_reader() -> None:
    """Much is written before anything is read, and little stays in memory; all of it is read then."""

    async def test() -> None:
        spool = Spool(memory_bytes=1_000)
        written = b"".join(bytes([number % 251]) * 1_000 for number in range(500))
        for begin in range(0, len(written), 1_000):
            spool.write(written[begin : begin + 1_000])
        spool.end()
        assert b"".join([piece async for piece in spool.pieces()]) == written
        spool.close()

    run(test)


def test_a_reader_reads_what_there_is() -> None:
    """Each piece as it is written; the end once nothing more comes."""

    async def test() -> None:
        spool = Spool()
        pieces = spool.pieces()
        for written in (b"one", b"two", b"three"):
            waiting = asyncio.ensure_future(anext(pieces))
            spool.write(written)
            assert await waiting == written
        spool.end()
        assert [piece async for piece in pieces] == []
        spool.close()

    run(test)
