"""Keeps the standard streams of a worker open: a handler that closes one takes it from all others as well.

Worse than a missing stream is a wrong one: the next file or socket that is opened gets the freed number, and what
somebody prints ends up in it.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from contextlib import suppress

from .log import say

_STREAMS = {1: "stdout", 2: "stderr"}
_is_open = os.get_inheritable
"""Raises for a number that stands for no open file; the cheapest question there is about one."""
_reopening = threading.Lock()
_replaced: list[object] = []
"""Streams that `sys` held. While one thread replaces one, `print` in another may be using it without holding it
(CPython before 3.13): letting go of it would crash the process."""


class _LastingStream(io.TextIOWrapper):
    """Whoever closes it a second time does not."""

    def close(self) -> None:
        """Write what is buffered; stay open."""
        self.flush()


class StandardStreams:
    """Remembers stdout and stderr as they were when it began; `look` brings back what was closed since."""

    def __init__(self) -> None:
        self._kept: dict[int, int] = {}

    def keep(self) -> None:
        """Begin."""
        for number in _STREAMS:
            with suppress(OSError):  # a process may well have been started without
                self._kept[number] = os.dup(number)

    def look(self) -> None:
        """Reopen what was closed; asked after each handler, before the next one runs. Never raises."""
        try:
            for number in self._kept:
                _is_open(number)
            if not (sys.stdout.closed or sys.stderr.closed):
                return
        except Exception:  # noqa: BLE001 - a program may have put anything in the place of a stream
            pass
        with _reopening:
            for number, kept in self._kept.copy().items():
                with suppress(Exception):
                    _reopen(number, kept)

    def close(self) -> None:
        """Let go of what is remembered."""
        with _reopening:
            while self._kept:
                os.close(self._kept.popitem()[1])


def _reopen(number: int, kept: int) -> None:
    name = _STREAMS[number]
    try:
        _is_open(number)
    except OSError:
        os.dup2(kept, number)
        say("warning", "worker.stream_reopened", stream=name)
    if getattr(sys, name).closed:
        raw = open(number, "wb", closefd=False)  # noqa: SIM115 - it stays
        stream = _LastingStream(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        _replaced.extend((getattr(sys, name), stream))
        setattr(sys, name, stream)
        say("warning", "worker.stream_reopened", stream=f"sys.{name}")
