"""All use cases over a ledger in memory, with a clock that stands still, and short words for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from jobledger import Actor, App, Dispatch, JobContext, Retry
from jobledger.application.commands import (
    CreateTenant,
    DispatchJob,
    DispatchJobs,
    ItemResult,
    Receipt,
    RegisterJobTypes,
)
from jobledger.application.message import Message
from jobledger.application.ports import ClaimRequest, OpenJob
from jobledger.application.preparing import OptionDefaults
from jobledger.application.result import Result
from jobledger.application.telemetry import Telemetry
from jobledger.application.use_cases import use_cases
from jobledger.application.writes import ChangeJob, queue_change
from jobledger.domain import job as jobs
from jobledger.domain.errors import Refusal
from jobledger.domain.event import Event, Facts, Metadata, RecordedEvent
from jobledger.domain.identifiers import SYSTEM_TENANT, uuid7
from jobledger.domain.job import AttemptError, JobState, Lease, Measured, evolve
from jobledger.domain.rate_card import RateCard
from jobledger.domain.refusal import DispatchRefused
from jobledger.infrastructure.memory import MemoryLedger

R = TypeVar("R")
RefusalT = TypeVar("RefusalT", bound=Refusal)

ACTOR = Actor(id="service:test")
START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ALL_TYPES = ("invoice.send", "invoice.keyed", "invoice.locked", "invoice.computed")


class Line(BaseModel):
    """A line of an invoice."""

    model_config = ConfigDict(extra="forbid")

    amount_cents: int = Field(gt=0)


class Invoice(BaseModel):
    """The payload of all job types here."""

    model_config = ConfigDict(extra="forbid")

    invoice_id: str = Field(min_length=1)
    note: str = ""
    lines: list[Line] = Field(default_factory=list)
    copies: int = 1


app = App("test", code_version="v1")


@app.job("invoice.send", effects="none", timeout_seconds=60, retry=Retry.fixed(2, 10), payload_limit_bytes=2_000)
def send(context: JobContext, payload: Invoice) -> dict[str, int]:
    """Send an invoice."""
    return {"sent": payload.copies}


@app.job("invoice.keyed", kind="ai", queue="keyed", idempotency_key="invoice_id", timeout_seconds=60, priority=5,
         rate_card=RateCard(version="2026-01", per_attempt=0.5))  # fmt: skip
def keyed(context: JobContext, payload: Invoice) -> None:
    """Once an invoice."""


@app.job("invoice.locked", effects="none", lock_key="invoice:{invoice_id}", timeout_seconds=60)
def locked(context: JobContext, payload: Invoice) -> None:
    """One at a time for each invoice."""


@app.job("invoice.computed", idempotency_key=lambda invoice: f"{invoice.invoice_id}/{invoice.copies}",
         lock_key=lambda invoice: f"lock-{invoice.invoice_id}", timeout_seconds=60)  # fmt: skip
def computed(context: JobContext, payload: Invoice) -> None:
    """Keys that only this code computes."""


class StillClock:
    """A clock that moves when a test says so."""

    def __init__(self) -> None:
        self.elapsed_seconds = 0.0

    def now(self) -> datetime:
        """The start, and what has passed since."""
        return START + timedelta(seconds=self.elapsed_seconds)

    def monotonic(self) -> float:
        """What has passed since the start."""
        return self.elapsed_seconds

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.elapsed_seconds += seconds


class CountingIdentifiers:
    """Ids that can be foretold."""

    def __init__(self, clock: StillClock) -> None:
        self._clock = clock
        self._count = 0

    def job_id(self) -> UUID:
        """The next UUIDv7."""
        self._count += 1
        return uuid7(int(self._clock.now().timestamp() * 1000), (1 << 62) | self._count)

    def correlation_id(self) -> str:
        """The next one."""
        self._count += 1
        return f"flow-{self._count}"

    def trace_parent(self) -> str:
        """The next one."""
        self._count += 1
        return f"00-{self._count:032x}-{self._count:016x}-01"

    def jitter(self) -> float:
        """Always the middle."""
        return 0.5


class UseCases:
    """A ledger in memory with two tenants, `acme` and `other`, and every use case."""

    def __init__(
        self,
        program: App | None = app,
        *,
        defaults: OptionDefaults | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.clock = StillClock()
        self.ledger = MemoryLedger(self.clock, CountingIdentifiers(self.clock))
        self.dispatcher = use_cases(self.ledger.ports, app=program, defaults=defaults, telemetry=telemetry)
        for tenant in ("acme", "other"):
            self.ask(CreateTenant, name=tenant)

    # --- messages ----------------------------------------------------------------------------------------------------

    def send(self, message_type: type[Message[R]], /, **fields: object) -> Result[R]:
        """Carry out a message."""
        return self.dispatcher.send(message_type, actor=ACTOR, **fields)

    def ask(self, message_type: type[Message[R]], /, **fields: object) -> R:
        """Carry out a message that is accepted."""
        return self.send(message_type, **fields).unwrap()

    def refused(self, refusal: type[RefusalT], message_type: type[Message[Any]], /, **fields: object) -> RefusalT:
        """Carry out a message that is refused, with this."""
        result = self.send(message_type, **fields)
        error = getattr(result, "error", None)
        assert type(error) is refusal, result
        return error

    def register_types(self, program: App = app) -> tuple[str, ...]:
        """Publish a program's types."""
        return self.ask(
            RegisterJobTypes, app=program.name, code_version=program.code_version, definitions=program.definitions
        ).changed

    # --- jobs --------------------------------------------------------------------------------------------------------

    def dispatch(self, job_type: str = "invoice.send", invoice_id: str = "42", **options: Any) -> Receipt:  # noqa: ANN401
        """Dispatch a job of `acme`."""
        return self.ask(DispatchJob, item=item(job_type, invoice_id, **options))

    def bulk(self, items: Sequence[Any]) -> list[ItemResult]:
        """Dispatch many; a result each."""
        return list(self.ask(DispatchJobs, items=items).results)

    def claim(self, worker: str = "w1", limit: int = 1) -> list[OpenJob]:
        """Let a worker begin attempts."""
        request = ClaimRequest(worker, ("default", "keyed"), ALL_TYPES, limit, "v1", 30.0, self.clock.now())
        return list(self.ledger.queue.claim(request).jobs)

    def fail(self, job: OpenJob, *, for_good: bool = False) -> None:
        """Let a claimed attempt fail."""
        error = AttemptError("Broken", "it broke", "f", "unrecoverable" if for_good else None)
        lease = Lease(job.state.worker or "", job.state.attempt)
        facts = jobs.fail(job.state, lease, error, now=self.clock.now(), jitter=0.5, measured=Measured())
        self._settle(job, facts, lease, b"Traceback ...")

    def complete(self, job: OpenJob, result: bytes = b"null") -> None:
        """Let a claimed attempt succeed."""
        lease = Lease(job.state.worker or "", job.state.attempt)
        self._settle(job, jobs.complete(job.state, lease, Measured()), lease, result)

    def dead(self, **options: Any) -> Receipt:  # noqa: ANN401
        """A job in the DLQ."""
        receipt = self.dispatch(**options)
        (job,) = self.claim()
        self.fail(job, for_good=True)
        return receipt

    def _settle(self, job: OpenJob, facts: jobs.Decision, lease: Lease, body: bytes) -> None:
        state: JobState = job.state
        for one in facts:
            state = evolve(state, one)
        events = tuple(
            Event(job.job_id, 0, job.tenant, self.metadata("worker:w1"), one, body if number == 0 else None)
            for number, one in enumerate(facts)
        )
        change = queue_change(job.state, state)
        self.ledger.writer.write([ChangeJob(job.job_id, job.tenant, events, change, lease=lease)])

    def metadata(self, actor: str = ACTOR.id) -> Metadata:
        """Who did it, now."""
        return Metadata(
            correlation_id="flow", trace_parent=f"00-{'a' * 32}-{'b' * 16}-01", actor=actor, time=self.clock.now()
        )

    # --- what was recorded -------------------------------------------------------------------------------------------

    def events(self, job_id: UUID, tenant: str = "acme") -> list[RecordedEvent]:
        """The history of a job, with bodies."""
        return self.ledger.reader.stream(tenant, job_id, bodies=True)

    def topics(self, job_id: UUID, tenant: str = "acme") -> list[str]:
        """The topics of a job's history."""
        return [event.topic for event in self.events(job_id, tenant)]

    def refusals(self) -> list[DispatchRefused]:
        """The refused dispatches that were recorded."""
        everything = self.ledger.reader.read_after(0, limit=100_000).events
        found = [event for event in everything if isinstance(event.facts, DispatchRefused)]
        assert all(event.tenant == SYSTEM_TENANT and event.originator_version == 1 for event in found)
        return [event.facts for event in found if isinstance(event.facts, DispatchRefused)]

    def last_facts(self, job_id: UUID) -> Facts:
        """What happened to a job last."""
        return self.events(job_id)[-1].facts


def item(job_type: str = "invoice.send", invoice_id: str = "42", **options: Any) -> Dispatch:  # noqa: ANN401
    """An item for `acme`; `payload` replaces the whole payload."""
    payload = options.pop("payload", {"invoice_id": invoice_id})
    return Dispatch(job_type, payload, options.pop("tenant", "acme"), **options)
