"""What the contract tests say of remote workers: who they are, what they ask, and what was recorded."""

# ruff: noqa: ANN401 - fields go through to messages, which check them

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from jobledger.application.dispatcher import Dispatcher
from jobledger.application.known import KnownTypes
from jobledger.application.lease_messages import ClaimJobs, LeasedJob, LeasesRenewed, RenewLeases, WorkScope
from jobledger.application.leasing import register_leasing
from jobledger.application.maintenance import Maintenance
from jobledger.application.message import Actor, Message
from jobledger.application.positions import Positions
from jobledger.application.result import Refused, Result
from jobledger.application.writes import AppendEvents, JobTypeRow
from jobledger.domain.errors import Refusal
from jobledger.domain.event import Event, RecordedEvent
from jobledger.domain.identifiers import SYSTEM_TENANT, stream_id
from jobledger.domain.job_type import JobTypeDefinition, JobTypeRegistered
from jobledger.domain.rate_card import RateCard
from jobledger.infrastructure.system import RandomIdentifiers

from .support import LedgerUnderTest, metadata

R = TypeVar("R")
OBJECT: dict[str, Any] = {"type": "object", "properties": {"invoice": {"type": "string"}}, "required": ["invoice"]}


class SteppingClock:
    """The time of day goes on; durations are what a test says."""

    def __init__(self) -> None:
        self.elapsed_seconds = 0.0

    def now(self) -> datetime:
        """The system's time of day."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """What a test let pass."""
        return self.elapsed_seconds


class Server:
    """A process that remote workers talk to: what it remembers is its own, the ledger is shared."""

    def __init__(self, ledger: LedgerUnderTest, *, unknown_seconds: float = 10.0) -> None:
        self.ledger = ledger
        self.clock = SteppingClock()
        self.dispatcher = Dispatcher(self.clock, RandomIdentifiers())
        register_leasing(
            self.dispatcher, queue=ledger.queue, writer=ledger.writer, reader=ledger.reader,
            catalogue=ledger.catalogue, clock=self.clock, identifiers=RandomIdentifiers(),
            types=KnownTypes(None, ledger.catalogue, self.clock), positions=Positions(ledger.reader),
            wake_up=ledger.wake_up, unknown_seconds=unknown_seconds,
        )  # fmt: skip
        self.maintenance = Maintenance(ledger.queue, ledger.writer, self.clock, actor="service:maintenance")

    def worker(self, name: str = "w1", identity: str = "key:one", **wishes: Any) -> RemoteWorker:
        """A worker of an identity."""
        return RemoteWorker(self, name, identity, wishes)


class RemoteWorker:
    """Asks a server for jobs, and tells it what became of them."""

    def __init__(self, server: Server, name: str, identity: str, wishes: dict[str, Any]) -> None:
        self.server = server
        self.name = name
        self.full_name = f"{identity}/{name}"
        self._actor = Actor(id=identity, address="203.0.113.7")
        self._wishes = wishes

    def send(self, message_type: type[Message[R]], /, **fields: Any) -> Result[R]:
        """Ask something."""
        return self.server.dispatcher.send(message_type, actor=self._actor, worker=self.name, **fields)

    def claim(self, limit: int = 10, **wishes: Any) -> list[LeasedJob]:
        """The jobs that a claim brings."""
        return list(self.send(ClaimJobs, limit=limit, **self._wishes, **wishes).unwrap().jobs)

    def claim_one(self, **wishes: Any) -> LeasedJob:
        """The only job that a claim brings."""
        (job,) = self.claim(1, **wishes)
        return job

    def renew(self, *held: LeasedJob) -> LeasesRenewed:
        """A heartbeat that names these."""
        named = [{"job_id": job.job_id, "attempt": job.attempt} for job in held]
        return self.send(RenewLeases, held=named).unwrap()

    def verdicts(self, *held: LeasedJob) -> list[str]:
        """What a heartbeat is told about these."""
        return [str(one.verdict) for one in self.renew(*held).held]

    def about(self, message_type: type[Message[R]], job: LeasedJob, /, **fields: Any) -> Result[R]:
        """Tell something of an attempt."""
        where = {"tenant": job.tenant, "job_id": job.job_id, "attempt": job.attempt}
        return self.send(message_type, **{**where, **self._scopes, **fields})

    def tell(self, message_type: type[Message[R]], job: LeasedJob, /, **fields: Any) -> R:
        """Tell something of an attempt, which is accepted."""
        return self.about(message_type, job, **fields).unwrap()

    def refused(self, message_type: type[Message[R]], job: LeasedJob, /, **fields: Any) -> Refusal:
        """Tell something of an attempt, which is refused."""
        result = self.about(message_type, job, **fields)
        assert isinstance(result, Refused), result
        return result.error

    @property
    def _scopes(self) -> dict[str, Any]:
        return {"scopes": self._wishes["scopes"]} if "scopes" in self._wishes else {}


def scope(tenants: Iterable[str] | None, queues: Iterable[str] | None) -> WorkScope:
    """Tenants and queues."""
    return WorkScope(
        tenants=None if tenants is None else frozenset(tenants), queues=None if queues is None else frozenset(queues)
    )


def register_type(ledger: LedgerUnderTest, name: str = "invoice.send", **fields: Any) -> None:
    """A job type whose payload is an object with an `invoice`, and whose result an object with a number `sent`."""
    definition = JobTypeDefinition.model_validate(
        {
            "name": name, "effects": "none", "payload_schema": OBJECT, "rate_card": RateCard(per_attempt=2.0),
            "result_schema": {"type": "object", "properties": {"sent": {"type": "integer"}}, "required": ["sent"]},
            **fields,
        }
    )  # fmt: skip
    facts = JobTypeRegistered(definition=definition, fingerprint=definition.fingerprint, code_version="v1", app="shop")
    event = Event(stream_id(SYSTEM_TENANT, "job_type", name), 1, SYSTEM_TENANT, metadata(), facts)
    assert ledger.write(
        AppendEvents((event,), JobTypeRow(definition, definition.fingerprint, "v1", "shop"))
    ).position is not None  # fmt: skip


def history(ledger: LedgerUnderTest, job_id: UUID, tenant: str = "acme") -> list[RecordedEvent]:
    """What happened to a job, with bodies."""
    return ledger.reader.stream(tenant, job_id, bodies=True)


def topics(ledger: LedgerUnderTest, job_id: UUID, tenant: str = "acme") -> list[str]:
    """What happened to a job, after its dispatch."""
    return [event.topic.removeprefix("job.") for event in history(ledger, job_id, tenant)[1:]]
