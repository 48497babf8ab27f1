"""What can be set about a worker, and how its run may end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from jobledger.domain.errors import InvalidInput
from jobledger.domain.limit import Rate
from jobledger.domain.options import DEFAULT_QUEUE


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Settings of one worker process; durations in seconds, every limit a number of jobs unless it says otherwise."""

    queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    concurrency: int = 16
    """How many handlers run at the same time, threads and coroutines together."""
    fetch_size: int = 500
    """The most jobs one claim takes; fewer are taken where the worker would not begin them within a second."""
    lease_seconds: float = 30.0
    lease_renew_buffer_seconds: float = 10.0
    """Leases are renewed at the latest this long before they would expire."""
    poll_seconds: float = 1.0
    """How often an idle worker looks for work when no hint arrives."""
    cancel_poll_seconds: float = 0.4
    """How often requests to cancel are looked for while a handler runs for longer than that."""
    grace_seconds: float = 25.0
    """How long running handlers may take to end once the worker was asked to stop; then their jobs are given back."""
    max_quarantined: int = 3
    """After so many handlers that did not stop at their hard timeout the worker ends, to be started afresh."""
    tenants: tuple[str, ...] | None = None
    """Take jobs of these tenants only."""
    personas: tuple[str, ...] | None = None
    """Take jobs for these personas only (of whatever tenant, where none is named)."""
    rate: Rate | None = None
    """The most starts of this worker in any window."""
    drain: bool = False
    """End as soon as nothing is ready and nothing runs here."""
    drain_wait_seconds: float = 0.0
    """With `drain`: also wait for jobs that become due, or that a rate lets start, within so many seconds."""

    def __post_init__(self) -> None:
        _at_least("queues", len(self.queues), 1)
        _at_least("concurrency", self.concurrency, 1)
        _at_least("fetch_size", self.fetch_size, 1)
        _at_least("max_quarantined", self.max_quarantined, 1)
        _at_least("poll_seconds", self.poll_seconds, 0.01)
        _at_least("cancel_poll_seconds", self.cancel_poll_seconds, 0.05)
        _at_least("grace_seconds", self.grace_seconds, 0)
        _at_least("lease_renew_buffer_seconds", self.lease_renew_buffer_seconds, 0)
        if self.lease_renew_buffer_seconds >= self.lease_seconds:
            raise InvalidInput(
                f"a buffer of {self.lease_renew_buffer_seconds:g} s leaves nothing of a lease of "
                f"{self.lease_seconds:g} s", field="lease_renew_buffer_seconds", rule="less than lease_seconds",
            )  # fmt: skip

    @property
    def renewal_seconds(self) -> float:
        """The pause between two renewals: a third of the lease, or less where the buffer asks for it."""
        return min(self.lease_seconds / 3, self.lease_seconds - self.lease_renew_buffer_seconds)


class RunResult(StrEnum):
    """Why `Worker.run` returned."""

    STOPPED = "stopped"
    """It was asked to stop."""
    DRAINED = "drained"
    """Nothing was left to do."""
    RECYCLE = "recycle"
    """Too many handlers ignored their hard timeout: start a new process."""
    FAILED = "failed"
    """The ledger refused this worker for good (for instance after a restore)."""


def _at_least(field: str, value: float, least: float) -> None:
    if value < least:
        raise InvalidInput(f"{value:g} is too small", field=field, rule=f"at least {least:g}")
