"""All use cases, registered with one dispatcher. The composition root calls this with its adapters."""

from __future__ import annotations

from dataclasses import dataclass

from .app import App
from .audit import Auditing
from .awaiting import Awaiting, Room
from .body_reads import BodyReads
from .dead_jobs import DeadJobs
from .dispatcher import Dispatcher
from .dispatching import Dispatching
from .dlq_control import DlqControl
from .explaining import Explaining
from .investigating import Investigating
from .job_control import JobControl
from .job_finder import JobFinder
from .job_repository import LedgerJobRepository
from .job_types import JobTypes
from .key_ports import KeyMint, KeyStore
from .keys import Keys
from .known import KnownTenants, KnownTypes
from .leasing import register_leasing
from .limits import Limiting
from .ports import (
    AtOnceWriter,
    Catalogue,
    Clock,
    EventReader,
    Identifiers,
    JobViews,
    LedgerWriter,
    Queue,
    StatisticsViews,
    TransactionWriter,
    WakeUp,
)
from .positions import Positions
from .preparing import OptionDefaults
from .projection_control import ProjectionControl
from .reading import Reading
from .recorded_access import RecordedAccess
from .statistics import Statistics
from .telemetry import Telemetry
from .tenants import Tenants
from .tracing_requests import TracingRequests
from .workers import Workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What the use cases need from the outside."""

    writer: LedgerWriter
    transaction_writer: TransactionWriter
    reader: EventReader
    queue: Queue
    catalogue: Catalogue
    views: JobViews
    statistics: StatisticsViews
    clock: Clock
    identifiers: Identifiers
    keys: KeyStore
    key_mint: KeyMint
    writer_at_once: AtOnceWriter | None = None
    """The writer, for those who must not wait; None where there is none such."""


@dataclass(frozen=True, slots=True)
class _Shared:
    """What use cases have in common, so that what one of them learns the others know."""

    tenants: KnownTenants
    types: KnownTypes
    finder: JobFinder
    positions: Positions
    awaiting: Awaiting


def use_cases(
    ports: Ports,
    *,
    app: App | None = None,
    defaults: OptionDefaults | None = None,
    telemetry: Telemetry | None = None,
    wake_up: WakeUp | None = None,
    room: Room | None = None,
) -> Dispatcher:
    """A dispatcher that answers every command and query.

    With `app`, its job types are checked by its own code; all others by the schemas in the installation's registry.
    `wake_up` hears when the ending of a remote attempt may let another job go; `room` is for who waits for lists.
    """
    dispatcher = Dispatcher(ports.clock, ports.identifiers, telemetry)
    tenants = KnownTenants(ports.catalogue, ports.clock)
    types = KnownTypes(app, ports.catalogue, ports.clock)
    positions = Positions(ports.reader)
    awaiting = Awaiting(ports.views, positions, room or Room())
    shared = _Shared(tenants, types, JobFinder(ports.views, tenants), positions, awaiting)
    _register_jobs(dispatcher, ports, shared, defaults)
    _register_questions(dispatcher, ports, shared)
    _register_installation(dispatcher, ports, shared)
    register_leasing(
        dispatcher, queue=ports.queue, writer=ports.writer, reader=ports.reader, catalogue=ports.catalogue,
        clock=ports.clock, identifiers=ports.identifiers, types=types, positions=shared.positions, wake_up=wake_up,
    )  # fmt: skip
    return dispatcher


def _register_jobs(dispatcher: Dispatcher, ports: Ports, shared: _Shared, defaults: OptionDefaults | None) -> None:
    """What changes jobs."""
    Dispatching(
        reader=ports.reader, writer=ports.writer, transaction_writer=ports.transaction_writer, tenants=shared.tenants,
        types=shared.types, positions=shared.positions, clock=ports.clock, identifiers=ports.identifiers,
        defaults=defaults, at_once=ports.writer_at_once,
    ).register(dispatcher)  # fmt: skip
    JobControl(
        repository=LedgerJobRepository(ports.reader, ports.writer), queue=ports.queue, finder=shared.finder,
        tenants=shared.tenants, types=shared.types, positions=shared.positions, identifiers=ports.identifiers,
    ).register(dispatcher)  # fmt: skip
    DlqControl(
        views=ports.views, reader=ports.reader, writer=ports.writer, tenants=shared.tenants,
        positions=shared.positions, clock=ports.clock,
    ).register(dispatcher)  # fmt: skip


def _register_questions(dispatcher: Dispatcher, ports: Ports, shared: _Shared) -> None:
    """What is asked about jobs."""
    body_reads = BodyReads(ports.writer, ports.identifiers)
    reading = Reading(
        reader=ports.reader, views=ports.views, finder=shared.finder, tenants=shared.tenants,
        positions=shared.positions, body_reads=body_reads, awaiting=shared.awaiting,
    )  # fmt: skip
    reading.register(dispatcher)
    Investigating(
        reading=reading, reader=ports.reader, views=ports.views, body_reads=body_reads
    ).register(dispatcher)  # fmt: skip
    TracingRequests(reading=reading, reader=ports.reader, views=ports.views).register(dispatcher)
    DeadJobs(
        reading=reading, reader=ports.reader, tenants=shared.tenants, positions=shared.positions,
        body_reads=body_reads,
    ).register(dispatcher)  # fmt: skip
    Explaining(
        reader=ports.reader, queue=ports.queue, catalogue=ports.catalogue, finder=shared.finder
    ).register(dispatcher)  # fmt: skip
    Statistics(statistics=ports.statistics, tenants=shared.tenants, awaiting=shared.awaiting).register(dispatcher)


def _register_installation(dispatcher: Dispatcher, ports: Ports, shared: _Shared) -> None:
    """What is done to the installation, and asked about it."""
    Tenants(
        reader=ports.reader, writer=ports.writer, catalogue=ports.catalogue, tenants=shared.tenants,
        positions=shared.positions,
    ).register(dispatcher)  # fmt: skip
    Keys(
        reader=ports.reader, writer=ports.writer, register=ports.keys, mint=ports.key_mint, tenants=shared.tenants,
        positions=shared.positions,
    ).register(dispatcher)  # fmt: skip
    Limiting(
        reader=ports.reader, writer=ports.writer, catalogue=ports.catalogue, queue=ports.queue, views=ports.views,
        tenants=shared.tenants, positions=shared.positions,
    ).register(dispatcher)  # fmt: skip
    Auditing(
        reader=ports.reader, writer=ports.writer, identifiers=ports.identifiers, tenants=shared.tenants,
        positions=shared.positions,
    ).register(dispatcher)  # fmt: skip
    RecordedAccess(ports.writer, ports.identifiers).register(dispatcher)
    Workers(ports.queue).register(dispatcher)
    ProjectionControl(reader=ports.reader, writer=ports.writer, positions=shared.positions).register(dispatcher)
    JobTypes(
        reader=ports.reader, writer=ports.writer, catalogue=ports.catalogue, positions=shared.positions
    ).register(dispatcher)  # fmt: skip
