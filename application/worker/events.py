"""What a worker tells the program it runs in: events of its own and of the jobs it ran, to listeners (R3.7).

These are for embedding and tests and are lost with the process; what happened to a job stands in the ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from jobledger.domain.errors import InvalidInput

from .log import say


class WorkerEventName(StrEnum):
    """What a worker tells of. `errored` is a job's error, `error` one of the worker itself.

    `completed` and `failed`, as the ledger calls what happened, are other names of `processed` and `errored`: listen to
    either, the event that comes is the same, and is named `processed` or `errored`.
    """

    STARTED = "started"
    ACTIVE = "active"
    PROGRESS = "progress"
    PROCESSED = "processed"
    """An attempt completed and that is durable."""
    COMPLETED = PROCESSED
    ERRORED = "errored"
    """An attempt failed and that is durable."""
    FAILED = ERRORED
    SNOOZED = "snoozed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """An attempt was given back."""
    LEASE_LOST = "lease_lost"
    """The job belongs to somebody else by now: what became of the attempt here was not recorded."""
    STALLED = "stalled"
    """Maintenance found a job whose worker was not heard of."""
    QUARANTINED = "quarantined"
    """A handler ignored its hard timeout; its slot is not used again."""
    DRAINED = "drained"
    """The worker has nothing to do."""
    ERROR = "error"
    """Something went wrong with the worker itself, not with a job."""
    CLOCK_SKEW = "clock_skew"
    """This machine's clock differs from the database's, by how much changed, or it does not any more."""
    RECOVERED = "recovered"
    """The ledger answers again after an `error`."""
    STOPPING = "stopping"
    CLOSED = "closed"

    @classmethod
    def _missing_(cls, value: object) -> WorkerEventName | None:
        return {"completed": cls.PROCESSED, "failed": cls.ERRORED}.get(str(value))


class WorkerEvent(NamedTuple):
    """One thing a worker tells. The job's fields are empty where it is about the worker itself."""

    name: WorkerEventName
    worker: str
    job_id: UUID | None = None
    tenant: str = ""
    job_type: str = ""
    attempt: int = 0
    detail: str = ""
    """For people: an error, a note, a reason."""
    fraction: float | None = None
    """With `progress`: how far the job is."""


Listener = Callable[[WorkerEvent], None]


class WorkerEvents:
    """Listeners by name. They are called on the worker's threads, so they must be quick; what they raise is logged
    and goes no further."""

    def __init__(self) -> None:
        self._listeners: dict[WorkerEventName, tuple[Listener, ...]] = {}

    def on(self, name: WorkerEventName | str, listener: Listener) -> None:
        """Call `listener` for every event of that name. Raises `InvalidInput` for a name that no event has."""
        try:
            known = WorkerEventName(name)
        except ValueError:
            raise InvalidInput(
                f"no event of a worker is named {name!r}", field="name",
                rule=f"one of {', '.join([*WorkerEventName, 'completed', 'failed'])}",
            ) from None  # fmt: skip
        self._listeners = {**self._listeners, known: (*self._listeners.get(known, ()), listener)}

    def on_any(self, listener: Listener) -> None:
        """Call `listener` for every event."""
        for name in WorkerEventName:
            self.on(name, listener)

    def heard(self, name: WorkerEventName) -> bool:
        """Whether anybody listens: the hot path makes no event for nobody."""
        return name in self._listeners

    def emit(self, event: WorkerEvent) -> None:
        """Tell the listeners."""
        for listener in self._listeners.get(event.name, ()):
            try:
                listener(event)
            except BaseException as error:  # noqa: BLE001 - a listener never breaks the worker: not by sys.exit() either
                say("warning", "worker.listener_failed", worker_event=event.name.value, error=repr(error))
