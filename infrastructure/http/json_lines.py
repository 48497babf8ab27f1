"""JSON Lines in and out, of any number, with little memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import NamedTuple

from starlette.datastructures import Headers

from ..api.bulk import MEDIA_TYPES

MEMORY_BYTES = 1_000_000
"""What waits for a reader in memory; more waits in a file."""
_READ_BYTES = 65_536


def are_json_lines(headers: Headers) -> bool:
    """Whether a body is read line by line: the lines are bounded, their number is not."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type in MEDIA_TYPES


class Line(NamedTuple):
    """A line; numbers count from 1, empty ones too. `text` None: it is longer than may be."""

    number: int
    text: bytes | None


class LineSplitter:
    """Makes lines of what comes in pieces. It holds one line at most, up to `bytes_max`."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._begun = bytearray()
        self._is_too_long = False
        self._number = 0

    def lines(self, piece: bytes) -> Iterator[Line]:
        """Those that end in this piece and are not empty."""
        *ends, rest = piece.split(b"\n")
        for end in ends:
            self._add(end)
            yield from self.last()
        self._add(rest)

    def last(self) -> Iterator[Line]:
        """The line that has begun, where it is not empty."""
        self._number += 1
        text = None if self._is_too_long else bytes(self._begun)
        self._begun.clear()
        self._is_too_long = False
        if text is None or text.strip():
            yield Line(self._number, text)

    def _add(self, part: bytes) -> None:
        if len(self._begun) + len(part) > self._bytes_max:
            self._is_too_long = True
            self._begun.clear()
        if not self._is_too_long:
            self._begun += part


async def batches(pieces: AsyncIterable[bytes], *, bytes_max: int, lines_max: int) -> AsyncIterator[Sequence[Line]]:
    """The lines of what is received, as they come, so many at once at most."""
    splitter = LineSplitter(bytes_max)
    async for piece in pieces:
        lines = splitter.lines(piece)
        while batch := tuple(islice(lines, lines_max)):
            yield batch
    if last := tuple(splitter.last()):
        yield last


class Spool:
    """What was written and not read yet: a writer never waits for a reader, and a reader reads what there is."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._file = SpooledTemporaryFile(max_size=memory_bytes)  # noqa: SIM115 - `close` does
        self._written = self._read = 0
        self._ended = False
        self._news = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Add to what is to be read."""
        self._file.seek(self._written)
        self._file.write(data)
        self._written += len(data)
        self._news.set()

    def end(self) -> None:
        """Nothing more is written."""
        self._ended = True
        self._news.set()

    async def begun(self) -> None:
        """Until there is something to read, or nothing will be."""
        while not (self._ended or self._read < self._written):
            self._news.clear()
            await self._news.wait()

    async def pieces(self) -> AsyncIterator[bytes]:
        """All that is written, as it is."""
        while True:
            await self.begun()
            if self._read == self._written:
                return
            self._file.seek(self._read)
            piece = self._file.read(_READ_BYTES)
            self._read += len(piece)
            if self._read == self._written:
                self._read = self._written = 0
                self._file.truncate(0)
            yield piece

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
