"""The worker's own log. What becomes of jobs is logged where it is committed, not here."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

import structlog

_log = structlog.get_logger("jobledger.worker")


def say(level: Literal["info", "warning", "error"], event: str, **fields: str | int | float) -> None:
    """Log an event; never raises. A handler may have closed the stream that we log to."""
    with suppress(Exception):
        _log.log({"info": 20, "warning": 30, "error": 40}[level], event, **fields)
