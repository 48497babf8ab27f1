"""Connections that hold a server up: whose requests never come to an end, who takes nothing, and too many of them.

uvicorn has no limits of time for what it receives: it leaves them to a proxy in front. One task a server looks at all
connections, once a second; what arrives only counts bytes.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from starlette.datastructures import Headers

from ..api.problems import MEDIA_TYPE
from .joined_writes import JoinedWrites
from .json_lines import are_json_lines
from .problem_documents import make_problem

if TYPE_CHECKING:  # which of its two it is depends on what is installed; of both we use the same
    from uvicorn.protocols.http.h11_impl import H11Protocol as AutoHTTPProtocol
else:
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

RETRY_AFTER_SECONDS = 1
RESERVED_FILES = 256
"""Files that a process may open and connections are not to use up: the ledger's, above all."""
LOOK_SECONDS = 1.0

_log = structlog.get_logger("jobledger.http")


class Patience(NamedTuple):
    """How long a server waits: for the head of a request, for more of a body, for somebody to take what is sent."""

    head_seconds: float = 10.0
    """For all of it, from the connection or its first byte on; also for the rest of a body that was answered."""
    body_seconds: float = 30.0
    """For so many bytes of a body as are the least."""
    body_bytes_min: int = 10_000
    """Of JSON Lines one byte is enough: who sends them may have to wait for them himself."""
    taken_seconds: float = 60.0
    """For anything of what is sent to be taken."""


PATIENCE: Final = Patience()


class _Awaited(Enum):
    """What a connection waits for."""

    HEAD = auto()
    BODY = auto()
    ANSWER = auto()


_TOO_MANY: Final = (
    "too_many_connections", 503, "this server has as many connections as it takes", "a limit on connections",
)  # fmt: skip
_TOO_SLOW: Final = ("too_slow", 408, "the request did not arrive in time", "arrives in time")


class Guarded(AutoHTTPProtocol):
    """One connection: uvicorn's, which knows what it waits for."""

    connections_max: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **kwargs)
        self._received = self._received_then = 0
        self._since = self._unsent_since = 0.0
        """When it began to wait for what it waits for, and for what is sent to be taken."""
        self._waits_for: tuple[object, _Awaited] = (None, _Awaited.HEAD)
        self._unsent = 0
        self._is_cut = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, or say that there are too many."""
        super().connection_made(JoinedWrites(transport, self.loop))
        self._since = self._unsent_since = self.loop.time()
        if len(self.connections) > self.connections_max:
            self._cut(_TOO_MANY)

    def data_received(self, data: bytes) -> None:
        """Take what came; nothing of one that was cut."""
        if not self._is_cut:
            self._received += len(data)
            super().data_received(data)

    def look(self, now: float, patience: Patience = PATIENCE) -> None:
        """Cut it where it is late; `now` by the loop's clock."""
        if self.transport.is_closing():
            return
        if self._takes_nothing(now, patience):
            _log.info("http.connection_cut", why="took nothing", client=self.client)
            self.transport.abort()
        elif self._is_late(now, patience):
            self._cut(_TOO_SLOW)

    def _takes_nothing(self, now: float, patience: Patience) -> bool:
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        return now - self._unsent_since >= patience.taken_seconds

    def _is_late(self, now: float, patience: Patience) -> bool:
        waits_for: tuple[object, _Awaited] = (self.cycle, self._awaited())
        if waits_for != self._waits_for:  # something else than at the last look
            self._begin(waits_for, now)
        match waits_for[1]:
            case _Awaited.ANSWER:
                return False
            case _Awaited.HEAD:
                if waits_for[0] is not None and self._received == self._received_then:
                    self._since = now  # it rests after an answer: uvicorn closes it
                return now - self._since >= patience.head_seconds
            case _Awaited.BODY:
                return now - self._since >= patience.body_seconds and self._body_is_late(now, patience)

    def _awaited(self) -> _Awaited:
        cycle: Any = self.cycle  # None before the first request
        if cycle is None or cycle.response_complete:
            return _Awaited.HEAD
        is_ours = self.flow.read_paused or cycle.waiting_for_100_continue  # what came before is still looked at
        return _Awaited.BODY if cycle.more_body and not is_ours else _Awaited.ANSWER

    def _body_is_late(self, now: float, patience: Patience) -> bool:
        """Time is over: did enough arrive for as much time again?"""
        enough = 1 if are_json_lines(Headers(raw=list(self.cycle.scope["headers"]))) else patience.body_bytes_min
        late = self._received - self._received_then < enough
        self._begin(self._waits_for, now)
        return late

    def _begin(self, waits_for: tuple[object, _Awaited], now: float) -> None:
        self._waits_for, self._since, self._received_then = waits_for, now, self._received

    def _cut(self, why: tuple[str, int, str, str]) -> None:
        """Close it; with a problem, where no answer has begun and there is somebody to read it."""
        self._is_cut = True
        _log.info("http.connection_cut", why=why[0].replace("_", " "), client=self.client)
        cycle: Any = self.cycle
        is_read = self._received or why is _TOO_MANY
        if is_read and (cycle is None or not cycle.response_started):
            self.transport.write(_told(*why))
        self.transport.close()


def guarded(connections_max: int) -> type[asyncio.Protocol]:
    """The protocol of a server with so many connections at a time; fewer where the process may open fewer files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = connections_max if files == resource.RLIM_INFINITY else max(16, files - RESERVED_FILES)
    if possible < connections_max:
        _log.warning("http.fewer_connections", wanted=connections_max, possible=possible, files=files)
    return type("Connection", (Guarded,), {"connections_max": min(connections_max, possible)})


async def look_after(connections: Iterable[Any], patience: Patience, every_seconds: float) -> None:
    """Cut those that are late, for ever."""
    now = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(every_seconds)
        for connection in list(connections):
            try:
                connection.look(now(), patience)
            except Exception as error:  # noqa: BLE001 - the others are looked at all the same
                _log.error("http.connection_not_looked_at", client=connection.client, exc_info=error)


def _told(code: str, status: int, detail: str, rule: str) -> bytes:
    """A whole answer: nothing else is there to make one."""
    body = make_problem(code, status, detail, rule=rule).model_dump_json(exclude_none=True).encode()
    title = "Request Timeout" if status == 408 else "Service Unavailable"
    retry = f"Retry-After: {RETRY_AFTER_SECONDS}\r\n" if status == 503 else ""
    head = (
        f"HTTP/1.1 {status} {title}\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n"
        f"{retry}Connection: close\r\n\r\n"
    )
    return head.encode() + body
