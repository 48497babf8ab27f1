"""All use cases, registered with one dispatcher. The composition root calls this with its adapters."""

from __future__ import annotations

from dataclasses import dataclass

from .app import App
from .audit import Auditing
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
from .key_ports import KeyMint, KeyRegister
from .keys import Keys
from .known import KnownTenants, KnownTypes
from .limits import Limiting
from .ports import (
    Catalogue,
    Clock,
    EventReader,
    Identifiers,
    JobViews,
    LedgerWriter,
    Queue,
    StatisticsViews,
    TransactionWriter,
)
from .positions import Positions
from .preparing import OptionDefaults
from .projection_control import ProjectionControl
from .reading import Reading
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
    keys: KeyRegister
    key_mint: KeyMint


def use_cases(
    ports: Ports,
    *,
    app: App | None = None,
    defaults: OptionDefaults | None = None,
    telemetry: Telemetry | None = None,
) -> Dispatcher:
    """A dispatcher that answers every command and query.

    With `app`, its job types are checked by its own code; all others by the schemas in the installation's registry.
    """
    dispatcher = Dispatcher(ports.clock, ports.identifiers, telemetry)
    positions = Positions(ports.reader)
    tenants = KnownTenants(ports.catalogue, ports.clock)
    types = KnownTypes(app, ports.catalogue, ports.clock)
    finder = JobFinder(ports.views, tenants)
    Dispatching(
        writer=ports.writer, transaction_writer=ports.transaction_writer, tenants=tenants, types=types,
        positions=positions, clock=ports.clock, identifiers=ports.identifiers, defaults=defaults,
    ).register(dispatcher)  # fmt: skip
    JobControl(
        repository=LedgerJobRepository(ports.reader, ports.writer), queue=ports.queue, finder=finder, types=types,
        positions=positions, identifiers=ports.identifiers,
    ).register(dispatcher)  # fmt: skip
    body_reads = BodyReads(ports.writer, ports.identifiers)
    reading = Reading(
        reader=ports.reader, views=ports.views, finder=finder, tenants=tenants, positions=positions,
        body_reads=body_reads,
    )  # fmt: skip
    reading.register(dispatcher)
    Investigating(
        reading=reading, reader=ports.reader, views=ports.views, body_reads=body_reads
    ).register(dispatcher)  # fmt: skip
    TracingRequests(reading=reading, reader=ports.reader, views=ports.views).register(dispatcher)
    DeadJobs(
        reading=reading, reader=ports.reader, tenants=tenants, positions=positions, body_reads=body_reads
    ).register(dispatcher)  # fmt: skip
    DlqControl(
        views=ports.views, reader=ports.reader, writer=ports.writer, tenants=tenants, positions=positions
    ).register(dispatcher)  # fmt: skip
    Tenants(
        reader=ports.reader, writer=ports.writer, catalogue=ports.catalogue, tenants=tenants, positions=positions
    ).register(dispatcher)  # fmt: skip
    Keys(
        reader=ports.reader, writer=ports.writer, register=ports.keys, mint=ports.key_mint, tenants=tenants,
        positions=positions,
    ).register(dispatcher)  # fmt: skip
    Explaining(
        reader=ports.reader, queue=ports.queue, catalogue=ports.catalogue, finder=finder
    ).register(dispatcher)  # fmt: skip
    Limiting(
        reader=ports.reader, writer=ports.writer, catalogue=ports.catalogue, queue=ports.queue, views=ports.views,
        tenants=tenants, positions=positions,
    ).register(dispatcher)  # fmt: skip
    Statistics(
        statistics=ports.statistics, views=ports.views, tenants=tenants, positions=positions
    ).register(dispatcher)  # fmt: skip
    Auditing(
        reader=ports.reader, writer=ports.writer, identifiers=ports.identifiers, tenants=tenants, positions=positions
    ).register(dispatcher)  # fmt: skip
    Workers(ports.queue).register(dispatcher)
    ProjectionControl(reader=ports.reader, writer=ports.writer, positions=positions).register(dispatcher)
    JobTypes(
        reader=ports.reader, writer=ports.writer, catalogue=ports.catalogue, positions=positions
    ).register(dispatcher)  # fmt: skip
    return dispatcher
