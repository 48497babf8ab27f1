"""Waiting for another process, which cannot signal a test."""

from __future__ import annotations

import time
from collections.abc import Callable

from .watched_worker import WAIT_SECONDS


def until(condition: Callable[[], bool], otherwise: str = "it did not happen") -> None:
    """Look again and again, as long as a test may wait for anything."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.01)
