"""One attempt on this worker, from its claim until its ending is durable."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from jobledger.domain.event import Metadata
from jobledger.domain.job import Lease, Measured
from jobledger.domain.rate_card import Usage

from ..declared_job import DeclaredJob
from ..dispatch_item import Dispatch
from ..ports import AttemptTransactions, Clock, LedgerWriter, OpenJob, SecretVault, StreamReader
from .events import WorkerEvent, WorkerEventName, WorkerEvents
from .forks import this_process
from .secrets import NoVault, Secrets

LeaseKey = tuple[UUID, int]
"""A job and the number of its attempt."""


class ChildDispatch(Protocol):
    """Dispatches jobs that a handler asks for; raises the first refusal."""

    def __call__(self, children: Sequence[Dispatch]) -> Sequence[UUID]:
        """The ids of the children, in their order."""
        ...


class Services(NamedTuple):
    """What attempts need from their worker."""

    worker: str
    actor: str
    """The worker as an actor: `worker:<name>`."""
    clock: Clock
    writer: LedgerWriter
    reader: StreamReader
    events: WorkerEvents
    dispatch_children: ChildDispatch
    cpu_seconds: Callable[[], float]
    """CPU seconds of the calling thread."""
    vault: SecretVault = NoVault()
    transactions: AttemptTransactions | None = None
    """None: this ledger's engine has none."""

    def metadata(self, job: OpenJob) -> Metadata:
        """Who, when and in which flow, of an event that the worker records now."""
        return Metadata(
            correlation_id=job.correlation_id, trace_parent=job.trace_parent, actor=self.actor,
            time=self.clock.now(),
        )  # fmt: skip

    def tell(self, name: WorkerEventName, job: OpenJob, detail: str = "", fraction: float | None = None) -> None:
        """Tell listeners of something that concerns a job."""
        if self.events.heard(name):
            self.events.emit(
                WorkerEvent(
                    name, self.worker, job.job_id, job.tenant, job.state.job_type, job.state.attempt, detail, fraction
                )
            )


class Pending(Protocol):
    """Reports of an attempt that were not handed to the ledger yet (see `reporting.py`)."""

    def flush_due(self, now: float) -> None:
        """Send what has waited for a second; `now` is monotonic."""
        ...


class OpenTransaction(Protocol):
    """The transaction of an attempt (see `transactions.py`)."""

    @property
    def is_open(self) -> bool:
        """Whether what the attempt reports waits for its commit."""
        ...

    def abandon(self) -> None:
        """Have it rolled back: somebody else ended the attempt. Never blocks."""
        ...


class Attempt:
    """What the worker's threads share about a running attempt. Flags only ever go up."""

    __slots__ = (
        "_unended",
        "abandoned",
        "begun_at",
        "cancel_requested",
        "claimed_at",
        "cpu_seconds",
        "declared",
        "frees_others",
        "job",
        "key",
        "lease",
        "lost",
        "on_cancel",
        "origin",
        "pending",
        "secrets",
        "soft_timed_out",
        "stopping",
        "transaction",
        "units",
    )  # fmt: skip

    def __init__(self, job: OpenJob, declared: DeclaredJob, worker: str, *, claimed_at: float = 0.0) -> None:
        self.job = job
        self.claimed_at = claimed_at
        """Monotonic; what passes between it and `begun_at` is time in the queue, too."""
        self.declared = declared
        self.origin = this_process()
        """A copy that the handler forked is none of the worker's."""
        self.lease = Lease(worker, job.state.attempt)
        self.key: LeaseKey = (job.job_id, job.state.attempt)
        self.begun_at = 0.0
        """Monotonic; 0 until it begins."""
        self.cancel_requested = job.state.cancel_reason is not None
        self.lost = False
        """The ledger says that the attempt is not ours any more."""
        self.soft_timed_out = False
        self.stopping = False
        """The worker is about to give the attempt back."""
        self.abandoned = False
        """Its hard timeout passed: nobody waits for its handler any more."""
        self.frees_others = job.state.lock_key is not None
        """Its ending may let another job start, which a key or a limit holds back."""
        self.pending: Pending | None = None
        self.units: dict[str, float] | None = None
        self.cpu_seconds = 0.0
        """Of the child process that ran the handler."""
        self.secrets: Secrets | None = None
        """Once the handler asked for one, or its payload refers to one."""
        self.transaction: OpenTransaction | None = None
        """Once the handler opened one."""
        self.on_cancel: Callable[[], None] | None = None
        """How whoever runs the handler interrupts it; called once, from any thread."""
        self._unended = threading.Lock()

    def take_ending(self) -> bool:
        """True for the first caller only: an attempt has one ending, whoever comes first (handler, timeout, stop)."""
        return self._unended.acquire(blocking=False)

    def request_cancel(self) -> None:
        """Somebody asked to cancel the job: the handler is told."""
        if self.cancel_requested:
            return
        self.cancel_requested = True
        if self.on_cancel is not None:
            self.on_cancel()

    def secrets_from(self, vault: SecretVault) -> Secrets:
        """What the attempt is given of a vault; the same each time."""
        if self.secrets is None:
            self.secrets = Secrets(vault, self.job.tenant)
        return self.secrets

    def redact(self, text: str) -> str:
        """The text without the secrets that the attempt was given."""
        return text if self.secrets is None else self.secrets.redact(text)

    @property
    def ended(self) -> bool:
        """Whether somebody took the ending."""
        return self._unended.locked()

    def measure(self, ended_at: float, cpu_seconds: float) -> Measured:
        """What the attempt took. Queue seconds are those until the claim, by the database's clock, and those that the
        job then waited here; running seconds end at `ended_at`."""
        job, card = self.job, self.declared.definition.rate_card
        queued = (job.started_at - job.state.due_at).total_seconds() if job.started_at is not None else 0.0
        if self.claimed_at and self.begun_at:
            queued = max(queued, 0.0) + self.begun_at - self.claimed_at
        usage = Usage(cpu_seconds=cpu_seconds, units=self.units or {})
        return Measured(
            queued if queued > 0.0 else 0.0, ended_at - self.begun_at if self.begun_at else 0.0, usage,
            card.estimate(usage), card.version,
        )  # fmt: skip
