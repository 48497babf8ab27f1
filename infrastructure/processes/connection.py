"""Messages over a stream socket between a worker and one of its processes.

A frame is two lengths, a head and a body. From a child the head is JSON; from the worker, whom its children trust, it
is a pickle.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import struct
import threading
from typing import cast

from pydantic import ValidationError

from jobledger.application.worker.child_messages import FROM_CHILD, FromChild, ToChild
from jobledger.domain.errors import InvalidInput

_LENGTHS = struct.Struct(">II")
_NO_BODY = 0xFFFF_FFFF
HEAD_BYTES_MAX = 32_000_000
BODY_BYTES_MAX = 64_000_000


class BrokenFrame(Exception):
    """What arrived is no message of ours."""


class Frames:
    """Sends and receives frames; several threads may send, one receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._sending = threading.Lock()

    def send(self, head: bytes, body: bytes | None = None) -> None:
        """Send a frame; waits while the other side has too much to read. Raises OSError once it is gone."""
        frame = self._frame(head, body)
        with self._sending:
            self._socket.sendall(frame)

    def send_at_once(self, head: bytes) -> bool:
        """Send a small frame if that needs no waiting; whether it was sent."""
        if not self._sending.acquire(blocking=False):
            return False
        try:
            poll = select.poll()
            poll.register(self._socket, select.POLLOUT)
            if not poll.poll(0):
                return False
            self._socket.sendall(self._frame(head, None))  # a socket that is ready takes far more than this
        except OSError:
            return False
        finally:
            self._sending.release()
        return True

    def receive(self) -> tuple[bytes, bytes | None] | None:
        """The next frame; None where the other side is gone. Raises `BrokenFrame`."""
        lengths = self._exactly(_LENGTHS.size)
        if lengths is None:
            return None
        head_length, body_length = _LENGTHS.unpack(lengths)
        if head_length > HEAD_BYTES_MAX or (body_length > BODY_BYTES_MAX and body_length != _NO_BODY):
            raise BrokenFrame(f"a frame of {head_length} and {body_length} bytes")
        head = self._exactly(head_length)
        body = None if body_length == _NO_BODY or head is None else self._exactly(body_length)
        return None if head is None or (body is None and body_length != _NO_BODY) else (head, body)

    def shut_down(self) -> None:
        """End both directions: whoever waits here sees the end."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended already

    def close(self) -> None:
        """Release the socket."""
        self._socket.close()

    def _frame(self, head: bytes, body: bytes | None) -> bytes:
        lengths = _LENGTHS.pack(len(head), _NO_BODY if body is None else len(body))
        return b"".join((lengths, head, body or b""))

    def _exactly(self, count: int) -> bytes | None:
        received = bytearray(count)
        view, filled = memoryview(received), 0
        while filled < count:
            try:
                size = self._socket.recv_into(view[filled:])
            except OSError:
                return None
            if size == 0:
                return None
            filled += size
        return bytes(received)


class WorkerEnd:
    """The worker's end of its connection to a child."""

    def __init__(self, sock: socket.socket) -> None:
        self.frames = Frames(sock)

    def send(self, message: ToChild) -> None:
        """Send; raises OSError once the child is gone."""
        self.frames.send(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))

    def send_at_once(self, message: ToChild) -> bool:
        """Send if that needs no waiting."""
        return self.frames.send_at_once(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))

    def receive(self) -> tuple[FromChild, bytes | None] | None:
        """The next message with its body; None once the child is gone. Raises `BrokenFrame`."""
        frame = self.frames.receive()
        if frame is None:
            return None
        try:
            return FROM_CHILD.validate_json(frame[0]), frame[1]
        except ValidationError as error:
            raise BrokenFrame(str(error)) from error


class ChildEnd:
    """A child's end. Its process alone may send: one that a handler forked would garble what its parent says."""

    def __init__(self, sock: socket.socket) -> None:
        self.frames = Frames(sock)
        self._process = os.getpid()
        self._descriptor = sock.fileno()
        self._identity = _identity(self._descriptor)

    @property
    def is_closed_here(self) -> bool:
        """Whether a handler closed the descriptor behind our back, and perhaps opened something else in its place."""
        return _identity(self._descriptor) != self._identity

    def send(self, message: FromChild, body: bytes | None = None) -> None:
        """Send; raises OSError once the worker is gone, `InvalidInput` in another process than the one it is for."""
        if os.getpid() != self._process:
            raise InvalidInput(
                "the handler forked, and the new process has no context", field="context",
                rule="is used in the process that the handler began in",
            )  # fmt: skip
        self.frames.send(FROM_CHILD.dump_json(message), body)

    def receive(self) -> ToChild | None:
        """The next message; None once the worker is gone."""
        frame = self.frames.receive()
        return None if frame is None else cast("ToChild", pickle.loads(frame[0]))


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino
