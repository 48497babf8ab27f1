"""What `up` and `work` have in common: a worker with what it needs, until it is told to stop."""

from __future__ import annotations

from typing import NamedTuple

from jobledger.domain.errors import LedgerUnavailable


class Request(NamedTuple):
    """What the command line asked for; None and empty leave it to the settings."""

    app: str | None
    queues: tuple[str, ...]
    concurrency: int | None
    drain: bool
    drain_wait_seconds: float
    projections: bool
    create: bool
    as_json: bool


def serve(request: Request) -> None:
    """Run until stopped or drained."""
    raise LedgerUnavailable(f"not wired yet: {request}")
