"""Keeps the standard streams of a worker open: a handler that closes one takes it from all others as well.

Worse than a missing stream is a wrong one: the next file or socket that is opened gets the freed number, and what
somebody prints ends up in it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from .log import say

_STREAMS = {1: "stdout", 2: "stderr"}


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
        """Reopen what was closed. Never raises."""
        for number, kept in self._kept.items():
            with suppress(OSError, ValueError):
                self._look_at(number, kept)

    def close(self) -> None:
        """Let go of what is remembered."""
        while self._kept:
            os.close(self._kept.popitem()[1])

    def _look_at(self, number: int, kept: int) -> None:
        name = _STREAMS[number]
        try:
            os.fstat(number)
        except OSError:
            os.dup2(kept, number)
            say("warning", "worker.stream_reopened", stream=name)
        stream = getattr(sys, name)
        if stream is not None and stream.closed:
            reopened = open(number, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, reopened)
            say("warning", "worker.stream_reopened", stream=f"sys.{name}")
