"""An ending on its way to the ledger."""

from __future__ import annotations

from concurrent.futures import Future
from typing import NamedTuple

from jobledger.domain.job import Measured

from ..ports import OpenJob
from ..writes import Outcome
from .attempt import Attempt
from .events import WorkerEventName
from .outcomes import Committed, Ending, Failed, GivenBack, PutOff, Report, Stopped, Succeeded

TOLD = {
    Succeeded: WorkerEventName.PROCESSED, Failed: WorkerEventName.ERRORED, PutOff: WorkerEventName.SNOOZED,
    GivenBack: WorkerEventName.INTERRUPTED, Stopped: WorkerEventName.CANCELLED,
    Committed: WorkerEventName.PROCESSED,
}  # fmt: skip
"""What listeners hear when an ending is durable."""


class Settlement(NamedTuple):
    """An ending with what it is decided on. `job` is the row: newer than the attempt's after a conflict."""

    attempt: Attempt
    ending: Ending
    measured: Measured
    job: OpenJob
    reports: tuple[Report, ...]
    tries: int = 0

    @property
    def size(self) -> int:
        """The bytes of its result."""
        return len(self.ending.result) if isinstance(self.ending, Succeeded) else 0

    @property
    def detail(self) -> str:
        """The ending, for people."""
        match self.ending:
            case Failed(error, _):
                return f"{error.error_type}: {error.message}"
            case PutOff(_, why) | GivenBack(why):
                return why
            case _:
                return ""


class Flight(NamedTuple):
    """A write under way. One that another transaction blocks stays for seconds, and holds nobody else up."""

    settlements: list[Settlement]
    future: Future[list[Outcome]]
    begun_at: float
    asked: int
    """See `Trouble.asking`."""
