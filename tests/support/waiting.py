"""Waiting for another process, which cannot signal a test."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_SECONDS = 90.0
"""Below what a test may take (see pyproject.toml): a slow machine is no failure."""


def until(condition: Callable[[], bool], otherwise: str = "it did not happen") -> None:
    """Look again and again; fail with `otherwise` when patience is out."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.01)
