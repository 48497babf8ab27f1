"""A load on an HTTP server: connections kept alive, each with one request under way at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit


class Load(NamedTuple):
    """What a load gave."""

    seconds: float
    latencies_seconds: list[float]


class _Connection(asyncio.Protocol):
    """Sends requests one after the other; a plain reader of answers that name their length."""

    def __init__(self, following: Callable[[], bytes | None], done: asyncio.Future[None]) -> None:
        self.latencies_seconds: list[float] = []
        self._following = following
        self._done = done
        self._received = bytearray()
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take an answer, send the next request."""
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        if len(rest) < _length(head):
            return
        if not head.startswith(b"HTTP/1.1 2"):
            self._fail(RuntimeError(f"the server answered {bytes(self._received[:300])!r}"))
            return
        self.latencies_seconds.append(time.perf_counter() - self._sent_at)
        self._received.clear()
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell, where that was too early."""
        self._fail(error or ConnectionError("the server closed the connection"))

    def _send(self) -> None:
        request = self._following()
        if request is None:
            if not self._done.done():
                self._done.set_result(None)
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)


def _length(head: bytes | bytearray) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise RuntimeError(f"an answer without a length: {bytes(head)!r}")


def post(url: str, requests: int, connections: int, *, path: str, headers: dict[str, str], body: bytes) -> Load:
    """Post the same body so many times, over so many connections at once."""
    return asyncio.run(_post(url, requests, connections, _request(url, path, headers, body)))


def _request(url: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", "Content-Type: application/json",
        f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items()),
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _post(url: str, requests: int, connections: int, request: bytes) -> Load:
    place, loop, left = urlsplit(url), asyncio.get_running_loop(), requests
    host, port = place.hostname or "127.0.0.1", place.port or 80

    def following() -> bytes | None:
        nonlocal left
        left -= 1
        return request if left >= 0 else None

    done = [loop.create_future() for _ in range(connections)]
    opened: list[_Connection] = []
    began_at = time.perf_counter()
    for future in done:
        _, connection = await loop.create_connection(partial(_Connection, following, future), host, port)
        opened.append(connection)
    await asyncio.gather(*done)
    seconds = time.perf_counter() - began_at
    return Load(seconds, [latency for connection in opened for latency in connection.latencies_seconds])
