"""What is written to a connection in one turn of its loop is sent together.

uvicorn writes the head of an answer and then its body: two system calls and two packets, each of which lets go of the
interpreter's lock. Together they are one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

_SENT_AT_ONCE_BYTES = 65_536

if TYPE_CHECKING:
    _Transport = asyncio.Transport
else:
    _Transport = object  # whose methods would hide those of the transport


class JoinedWrites(_Transport):
    """A transport as it is, but for that."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes | bytearray | memoryview] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a transport has
        return getattr(self._transport, name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send it at the end of this turn, or at once where it is large."""
        if len(data) > _SENT_AT_ONCE_BYTES:
            self._send()
            self._transport.write(data)
        elif data:
            if not self._held:
                self._loop.call_soon(self._send)
            self._held.append(data)

    def get_write_buffer_size(self) -> int:
        """Bytes that are not sent yet."""
        return self._transport.get_write_buffer_size() + sum(map(len, self._held))

    def close(self) -> None:
        """Send what is held, then close."""
        self._send()
        self._transport.close()

    def abort(self) -> None:
        """Close without sending anything more."""
        self._held.clear()
        self._transport.abort()

    def _send(self) -> None:
        if self._held:
            held, self._held = self._held, []
            self._transport.write(b"".join(held))
