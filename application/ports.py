"""The ports: what the application needs from the outside. Adapters are folders in `infrastructure/`.

Positions are plain integers here; outside the process they are strings `incarnation.position` (`Positions`).
Everything that takes a tenant returns that tenant's data only, on every adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol
from uuid import UUID

from jobledger.domain.dlq import DlqFilter
from jobledger.domain.event import Event, RecordedEvent
from jobledger.domain.job import JobKind, JobState, JobStatus, Lease
from jobledger.domain.limit import Limits, Target

from .distribution import Distribution
from .writes import ChangeJob, JobTypeRow, LimitRow, NewJob, Outcome, TenantRow, Write


class Clock(Protocol):
    """Where time comes in. `domain` and `application` never read a clock (rule 16)."""

    def now(self) -> datetime:
        """This moment, timezone-aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump, for measuring durations and waiting."""
        ...


class Identifiers(Protocol):
    """Where randomness comes in."""

    def job_id(self) -> UUID:
        """A new UUIDv7."""
        ...

    def correlation_id(self) -> str:
        """A new correlation id."""
        ...

    def trace_parent(self) -> str:
        """A new W3C traceparent, `00-<32 hex>-<16 hex>-01`."""
        ...

    def jitter(self) -> float:
        """A draw from [0, 1)."""
        ...


class LedgerWriter(Protocol):
    """Writes to the ledger through the group commit of this process.

    Raises `LedgerUnavailable`, `LedgerBusy` or `LedgerRestored` (through the future for `submit`); then nothing of
    the writes handed in was stored. Conflicts are outcomes, told to their own caller only.
    """

    def submit(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
        """Hand writes in; the future is done once all of them are durable or refused. Blocks while the buffer is
        full, then raises `LedgerBusy`."""
        ...

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        """`submit(...).result()`."""
        ...

    def add_listener(self, listener: Callable[[Sequence[Write], Sequence[Outcome]], None]) -> None:
        """Call `listener` after each durable commit, on the flushing thread: it must be quick and never raise."""
        ...


class TransactionWriter(Protocol):
    """Dispatches inside a caller's own open psycopg or sqlite3 transaction; bypasses the group commit."""

    def dispatch(self, connection: object, new_jobs: Sequence[NewJob]) -> list[Outcome]:
        """Write on `connection`; commits or vanishes with it. `InvalidInput` for a connection of another kind."""
        ...


class AttemptTransaction(Protocol):
    """An open transaction on the ledger's database, in which an attempt's effects and its completion commit together.

    Belongs to the thread that began it; only `abandon` may be called by others.
    """

    @property
    def connection(self) -> object:
        """What the handler writes its effects with: a `psycopg.Connection` in the login's own role."""
        ...

    def complete(self, change: ChangeJob, *, give_up: Callable[[], bool]) -> Outcome:
        """Write the completion and commit. Anything but WRITTEN: everything was rolled back, the lease is lost.

        Where it raises, everything was rolled back, too; `CommitUnknown` is the exception: the answer to the COMMIT
        was lost and what became of it could not be found out before `give_up` said to stop trying.
        """
        ...

    def roll_back(self) -> None:
        """Undo everything. Harmless where it is over."""
        ...

    def abandon(self) -> None:
        """Have everything undone while the handler may still be using the connection. Never blocks."""
        ...


class AttemptTransactions(Protocol):
    """Opens transactions for attempts (rule 10); only where the engine can."""

    def begin(self, *, seconds: float) -> AttemptTransaction:
        """A new transaction, which the database itself rolls back where it is left alone for `seconds`. Raises
        `LedgerUnavailable` or `LedgerBusy`."""
        ...


class SecretVault(Protocol):
    """Where secrets are kept. Asked while jobs run, from many threads; an answer may be remembered for seconds."""

    def get(self, name: str, tenant: str) -> str:
        """The text of a secret. `UnknownSecret` where that tenant has none of that name; `VaultUnavailable` where the
        vault cannot say. No message of theirs shows a secret."""
        ...


class EventBatch(NamedTuple):
    """Events in order of position, and the last position *read* (which may lie beyond the last event returned)."""

    events: tuple[RecordedEvent, ...]
    position: int


class EventFilter(NamedTuple):
    """Which events are read; None does not filter. Times bound `recorded_at` (from inclusive, to exclusive).

    What is read and unknown to this program is an `UnknownTopic`: `families` and `without` therefore reach topics that
    are newer than the program, `topics` names those that it knows.
    """

    topics: frozenset[str] | None = None
    recorded_from: datetime | None = None
    recorded_to: datetime | None = None
    families: frozenset[str] = frozenset()
    """With `topics`: also all topics that begin with one of these and a dot."""
    without: frozenset[str] = frozenset()
    """Topics that are left out."""
    marked: tuple[str, str] | None = None
    """A topic, and what the stored facts of its events must contain: the others of it are left out, undecoded."""


EVERY_EVENT = EventFilter()
SCAN_EVENTS = 20_000
"""Events that one statement looks at for those that match: it ends soon, however few do."""


class StreamPart(NamedTuple):
    """Which events of a stream: after one version and up to another (None: its last), of some topics, without others,
    recorded later than a moment; oldest first or newest first."""

    after_version: int = 0
    until_version: int | None = None
    topics: frozenset[str] | None = None
    without: frozenset[str] = frozenset()
    recorded_after: datetime | None = None
    newest_first: bool = False


class StreamReader(Protocol):
    """Reads streams of one tenant: all that a worker needs of the ledger."""

    def stream(
        self,
        tenant: str,
        originator_id: UUID,
        *,
        after_version: int = 0,
        limit: int | None = None,
        bodies: bool = False,
    ) -> list[RecordedEvent]:
        """The events of a stream in order of version; empty where the tenant has no such stream."""
        ...

    def streams(self, tenant: str, originator_ids: Sequence[UUID]) -> dict[UUID, list[RecordedEvent]]:
        """Several streams at once; ids the tenant does not have are absent."""
        ...


class EventReader(StreamReader, Protocol):
    """Reads streams, and the whole ledger in order (for projections and auditors)."""

    def last_version(self, tenant: str, originator_id: UUID) -> int:
        """The version of a stream's last event; 0 where the tenant has no such stream."""
        ...

    def beginnings(self, tenant: str, originator_ids: Sequence[UUID], *, limit: int) -> dict[UUID, list[RecordedEvent]]:
        """The first events of several streams, at most so many of each; ids the tenant does not have are absent."""
        ...

    def stream_part(self, tenant: str, originator_id: UUID, part: StreamPart, *, limit: int) -> list[RecordedEvent]:
        """Events of a stream, at most so many: what is left out is neither fetched nor decoded."""
        ...

    def topics(self, tenant: str, originator_id: UUID, after_version: int, until_version: int) -> list[str]:
        """What happened in a stream after one version and up to another, oldest first: topics only."""
        ...

    def read_after(self, position: int, *, limit: int, topics: frozenset[str] | None = None) -> EventBatch:
        """The next events of all tenants, only below the horizon: nothing will ever appear before what was returned.
        With `topics`, events of others are left out but count as read."""
        ...

    def read_tenant(
        self,
        tenant: str | None,
        position: int,
        *,
        limit: int,
        until: int | None = None,
        where: EventFilter = EVERY_EVENT,
        bodies: bool = False,
    ) -> EventBatch:
        """The next events of a tenant (None: of all) in order, up to and including position `until`, below the horizon.
        What `where` leaves out counts as read; a statement looks at `SCAN_EVENTS` at most, so a batch may be empty
        and still have got on: there are no more where its position has reached `until`, or is the one asked after."""
        ...

    def head(self) -> int:
        """The position up to which the ledger can be read now (at the horizon)."""
        ...

    def incarnation(self) -> str:
        """Changes when the ledger was restored to an earlier moment."""
        ...


class Catalogue(Protocol):
    """What the installation knows: tenants and job types (inline projections of their streams)."""

    def tenant(self, name: str) -> TenantRow | None:
        """A tenant, or None."""
        ...

    def tenants(self) -> list[TenantRow]:
        """All tenants by name."""
        ...

    def job_type(self, name: str) -> JobTypeRow | None:
        """A job type, or None."""
        ...

    def job_types(self) -> list[JobTypeRow]:
        """All job types by name."""
        ...

    def limits(self) -> list[LimitRow]:
        """All targets that are limited or paused: by scope, tenant and subject."""
        ...


# --- the queue -------------------------------------------------------------------------------------------------------


class OpenJob(NamedTuple):
    """A row of the queue: an unfinished job with all that decisions need. `version` is its stream's version.

    `readable` is False where a newer program wrote options that this one does not know: then `state` holds defaults in
    their place, enough to give the job back but not to run it.
    """

    job_id: UUID
    tenant: str
    version: int
    state: JobState
    started_at: datetime | None
    correlation_id: str
    trace_parent: str
    payload: bytes
    readable: bool = True


class ClaimRequest(NamedTuple):
    """What a worker would take. Job types it does not know are left for a worker that does.

    `at_once` is how many of them begin as soon as they are claimed (None: all): jobs under a rate are claimed no
    further ahead than that, so that the rate holds for when they run, too. `except_tenants` are left out: the worker
    has jobs of theirs waiting, and takes none that stalled before beside them.
    """

    worker: str
    queues: tuple[str, ...]
    job_types: tuple[str, ...]
    limit: int
    code_version: str
    lease_seconds: float
    now: datetime
    tenants: tuple[str, ...] | None = None
    personas: tuple[str, ...] | None = None
    at_once: int | None = None
    except_tenants: tuple[str, ...] = ()


class Claim(NamedTuple):
    """What a claim brought: jobs with `job.started` durably recorded, and tenants that have ready jobs but are
    unknown or suspended (their jobs are not started; maintenance sends them to the DLQ)."""

    jobs: tuple[OpenJob, ...]
    inactive_tenants: tuple[str, ...] = ()
    limited: bool = False
    """Limits had a say: the ending of one of these jobs may let another one go."""
    again_seconds: float | None = None
    """When a rate that held jobs back allows the next one."""


class WorkerReport(NamedTuple):
    """What a worker uses and does, as it sees it."""

    app: str = ""
    host: str = ""
    pid: int = 0
    cpu_seconds: float = 0.0
    """Of the process and its children, since it started."""
    cpu_load: float = 0.0
    """CPU seconds a second, lately: 1.0 is one core busy all the time."""
    rss_bytes: int = 0
    """Of the process and its children."""
    held: int = 0
    """Jobs claimed, running ones included, whose ending is not durable yet."""
    running_by_type: dict[str, int] = {}  # noqa: RUF012 - nobody changes it
    quarantined: int = 0
    """Slots lost to handlers that ignored their hard timeout."""
    clock_skew_seconds: float = 0.0
    """How far its clock is ahead of the database's (below 0: behind), as far as that is certain."""
    tenants: tuple[str, ...] = ()
    """The tenants that it is dedicated to; empty: it works for all."""
    personas: tuple[str, ...] = ()
    """The personas that it is dedicated to; empty: it works for all."""


class WorkerHeartbeat(NamedTuple):
    """What a worker says of itself with each renewal."""

    worker: str
    code_version: str
    queues: tuple[str, ...]
    concurrency: int
    running: int
    lease_seconds: float
    report: WorkerReport = WorkerReport()


class HeldLease(NamedTuple):
    """A lease the database believes a worker holds."""

    job_id: UUID
    attempt: int
    cancel_requested: bool
    tenant: str


class Renewal(NamedTuple):
    """The database's answer to a heartbeat."""

    leases: tuple[HeldLease, ...]
    database_now: datetime


class WorkerRow(NamedTuple):
    """A worker as the installation knows it. `seconds_since_seen` is by the database's clock; a worker whose lease ran
    out is lost."""

    heartbeat: WorkerHeartbeat
    started_at: datetime
    last_seen_at: datetime
    seconds_since_seen: float

    @property
    def is_lost(self) -> bool:
        """Whether its leases have run out."""
        return self.seconds_since_seen > self.heartbeat.lease_seconds


COUNT_SECONDS_MAX = 2
"""How long counting the queue may take: metrics never weigh on the ledger."""


class QueueCount(NamedTuple):
    """How many open jobs of a queue have a status."""

    queue: str
    status: JobStatus
    jobs: int


class ExpiredLease(NamedTuple):
    """A running job whose worker was not heard of in time."""

    job: OpenJob
    last_seen_at: datetime | None


TURN_SECONDS_MAX = 30.0
"""How long a process that froze keeps others from a chore."""


class Standing(NamedTuple):
    """What stands in a job's way at a moment: jobs in progress of each target with a concurrency limit, starts that
    count in the window of each with a rate, and the running job of its tenant that holds its lock key."""

    running: Mapping[Target, int]
    started: Mapping[Target, int]
    lock_holder: UUID | None = None


class Queue(Protocol):
    """The work queue: claims, leases, liveness. Other changes of it travel with `LedgerWriter`."""

    def claim(self, request: ClaimRequest) -> Claim:
        """Take up to `limit` due jobs: priority counts within a tenant, tenants take turns. Durable on return.
        A job that stalled before is claimed alone."""
        ...

    def heartbeat(self, heartbeat: WorkerHeartbeat) -> Renewal:
        """Renew all leases of a worker, in one statement; answers with them as the database sees them."""
        ...

    def workers(self) -> list[WorkerRow]:
        """The workers that have not said goodbye, the longest running first."""
        ...

    def forget_workers(self, *, silent_seconds: float) -> int:
        """Forget workers that were not heard of for so long and hold nothing; how many."""
        ...

    def counts(self) -> list[QueueCount]:
        """Open jobs by queue and status, in no order; statuses that no job has are absent. Counts every open job: for
        metrics, not for every moment. `LedgerBusy` where that takes more than two seconds."""
        ...

    def turn(self, chore: str) -> AbstractContextManager[bool]:
        """Whether this process does `chore` now: True for one process of all at a time, until the block ends or the
        process dies. Never waits.

        A process that freezes loses its turn after `TURN_SECONDS_MAX`, so that nobody has to be there for the others to
        go on: what is done in a turn must bear being done twice at once."""
        ...

    def apply_limits(self) -> int:
        """Bring jobs that wait in line with limits of personas that came or went since they were dispatched; how many
        were changed. Does nothing to what may run: only to how fast it is found."""
        ...

    def standing(self, targets: Mapping[Target, Limits], *, tenant: str, lock_key: str | None) -> Standing:
        """How far targets are from their limits, and who holds a lock key of the tenant: for people who ask why a job
        waits, as it is now and without a lock. A key target is one key, never a prefix."""
        ...

    def goodbye(self, worker: str) -> None:
        """The worker ended and holds nothing any more."""
        ...

    def expired(self, *, limit: int) -> list[ExpiredLease]:
        """Running jobs whose worker's lease ran out by the database's clock."""
        ...

    def waiting_of_inactive_tenants(self, *, limit: int) -> list[OpenJob]:
        """Waiting jobs of tenants that are suspended or unknown."""
        ...

    def open_jobs(self, tenant: str, job_ids: Sequence[UUID]) -> dict[UUID, OpenJob]:
        """The rows of these jobs, as they are now."""
        ...

    def next_due_seconds(self, queues: Sequence[str]) -> float | None:
        """Seconds until the next delayed job of these queues is due (0 when something is ready), None: nothing."""
        ...


class WakeUp(Protocol):
    """Tells workers that there may be work. Only ever a hint: polling alone is enough."""

    def notify(self, queues: frozenset[str]) -> None:
        """Say that jobs became ready. Never blocks; the first goes out at once, later ones are coalesced."""
        ...

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for a hint, from this process or another; True if one came."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


# --- read models -----------------------------------------------------------------------------------------------------


class JobFilter(NamedTuple):
    """Filters of a job list; None is no filter. `failed` = the last attempt failed and it has not completed since.
    Times are aware and bound `created_at` (from inclusive, to exclusive)."""

    status: JobStatus | None = None
    failed: bool | None = None
    job_type: str | None = None
    kind: JobKind | None = None
    queue: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


class PageKey(NamedTuple):
    """Where a page begins: after this row, newest first."""

    created_at: datetime
    job_id: UUID


class JobListRow(NamedTuple):
    """One line of a job list (R0.1, R1.7)."""

    job_id: UUID
    tenant: str
    persona: str | None
    status: JobStatus
    failed: bool
    job_type: str
    kind: JobKind
    queue: str
    priority: int
    attempt: int
    attempts_counted: int
    attempts_allowed: int
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    error_type: str | None
    error_message: str | None
    progress: float | None


class DlqRow(NamedTuple):
    """One line of the dead-letter queue."""

    job_id: UUID
    tenant: str
    persona: str | None
    job_type: str
    kind: JobKind
    queue: str
    reason: str
    error_type: str
    error_message: str
    fingerprint: str
    attempt: int
    created_at: datetime
    dead_at: datetime


HELD_SECONDS_MIN = 1.0
"""For how long nothing newer can be read before anybody is told: transactions take their time."""


class HorizonHold(NamedTuple):
    """An open transaction that wrote to the ledger: nothing recorded after it began can be read before it ends.

    `since` is when it began or, where this login may not see that, when the oldest event that waits was recorded;
    `seconds` is how long ago that is, by the database's clock. What this login may not see of it is None.
    """

    since: datetime
    seconds: float
    pid: int | None
    application: str | None
    login: str | None
    state: str | None
    waiting_since: datetime | None
    """When the oldest event that waits was recorded; None: none does, all that is committed can be read."""


class Freshness(NamedTuple):
    """How current a list is: the position its projection reached, and the ledger's head at that moment.

    `parked`: events (a thousand at most are counted) that the projection could not take: the list may lack what they
    say. `hold`: why nothing newer can be read just now.
    """

    position: int
    head: int
    recorded_at: datetime | None
    projection: str = ""
    parked: int = 0
    hold: HorizonHold | None = None


class JobPage(NamedTuple):
    """A page of a job list. `next` is None on the last page."""

    rows: tuple[JobListRow, ...]
    next: PageKey | None
    freshness: Freshness


class DlqPage(NamedTuple):
    """A page of the DLQ, most recently dead first (`PageKey.created_at` is then `dead_at`)."""

    rows: tuple[DlqRow, ...]
    next: PageKey | None
    freshness: Freshness


class DlqGroup(NamedTuple):
    """Dead jobs of one type that died of the same thing."""

    job_type: str
    reason: str
    error_type: str
    jobs: int


class DlqSummary(NamedTuple):
    """How many dead jobs match a filter, when the first and the last of them died, and the largest groups of them
    (`group_count` says how many there are)."""

    jobs: int
    first_dead_at: datetime | None
    last_dead_at: datetime | None
    groups: tuple[DlqGroup, ...]
    group_count: int
    freshness: Freshness


class TracedJob(NamedTuple):
    """A job in the trace of a request: what caused it, the job that did (None: not a job), and its line in the list
    (None: the list does not show it yet; or this is the record of a refused dispatch)."""

    job_id: UUID
    correlation_id: str
    causation_id: str | None
    caused_by: UUID | None
    created_at: datetime
    listed: JobListRow | None


class TracePage(NamedTuple):
    """Jobs of a trace, and whether there are more."""

    jobs: tuple[TracedJob, ...]
    more: bool
    freshness: Freshness


class ViewName(StrEnum):
    """A read model that queries read: who waits for one is not kept waiting by the others."""

    TENANT_JOBS = "tenant_jobs"
    PERSONA_JOBS = "persona_jobs"
    DLQ_JOBS = "dlq_jobs"
    SHORT_IDS = "job_short_ids"
    TRACES = "job_traces"
    TENANT_STATISTICS = "tenant_statistics"
    QUEUE_STATISTICS = "queue_statistics"


EVERY_VIEW = frozenset(ViewName)


class JobViews(Protocol):
    """The read models. A tenant is a required argument of each query."""

    def tenant_jobs(self, tenant: str, where: JobFilter, *, after: PageKey | None, limit: int) -> JobPage:
        """The jobs of a tenant, newest first."""
        ...

    def persona_jobs(
        self, tenant: str, persona: str, where: JobFilter, *, after: PageKey | None, limit: int
    ) -> JobPage:
        """The jobs of one persona of a tenant, newest first."""
        ...

    def dlq(self, tenant: str, where: DlqFilter, *, after: PageKey | None, limit: int) -> DlqPage:
        """The jobs of a tenant in the dead-letter queue, most recently dead first."""
        ...

    def dlq_summary(self, tenant: str, where: DlqFilter, *, groups: int) -> DlqSummary:
        """How many dead jobs of a tenant match, with the `groups` largest groups. Visits each of them."""
        ...

    def request_jobs(self, tenant: str, correlation_id: str, *, after: UUID | None, limit: int) -> TracePage:
        """What was dispatched in a request, in the order of ids, which is that of births; `after` that one. Under the
        tenant of the installation: the records of its dispatches that were refused."""
        ...

    def caused_jobs(self, tenant: str, causes: Sequence[UUID], *, limit: int) -> TracePage:
        """The jobs that these jobs caused: by cause, then in the order of births."""
        ...

    def find_by_short_id(self, tenant: str, short_id: str) -> list[UUID]:
        """Ids of the tenant's jobs that end in these (8 or more) characters: from the list, else from the queue."""
        ...

    def wait_for(self, position: int, timeout_seconds: float, views: frozenset[ViewName] = EVERY_VIEW) -> bool:
        """Wait until these have reached `position` (read your own writes); False when time ran out."""
        ...


# --- statistics ------------------------------------------------------------------------------------------------------


class GroupBy(StrEnum):
    """What statistics can be told apart by. A bucket is an hour of a tenant, a minute of a queue."""

    BUCKET = "bucket"
    PERSONA = "persona"
    JOB_TYPE = "job_type"
    QUEUE = "queue"


class StatisticsGroup(NamedTuple):
    """What was counted of a group. What it is not grouped by is None; a `persona` of '' are jobs without one. `waited`
    and `ran` are of attempts that completed or failed, as is `estimated_cost`."""

    bucket_at: datetime | None
    persona: str | None
    job_type: str | None
    queue: str | None
    dispatched: int
    started: int
    completed: int
    failed: int
    retried: int
    dead: int
    stalled: int
    interrupted: int
    cancelled: int
    waited: Distribution
    ran: Distribution
    estimated_cost: float


class StatisticsPage(NamedTuple):
    """Groups, the newest bucket first, then the busiest. `more`: there are others behind them."""

    groups: tuple[StatisticsGroup, ...]
    more: bool
    freshness: Freshness


class StatisticsViews(Protocol):
    """The statistics. Buckets from `since` (inclusive) to `until` (exclusive), summed up by what `by` names."""

    def of_tenant(
        self, tenant: str, by: frozenset[GroupBy], *, since: datetime, until: datetime, limit: int
    ) -> StatisticsPage:
        """What happened to a tenant's jobs; buckets are hours."""
        ...

    def of_queues(self, by: frozenset[GroupBy], *, since: datetime, until: datetime, limit: int) -> StatisticsPage:
        """What happened in the queues, of all tenants together; buckets are minutes. By bucket and queue only."""
        ...


# --- jobs ------------------------------------------------------------------------------------------------------------


class Job(NamedTuple):
    """A job as its stream tells it: always current. `payload_sha256` is that of the payload in force."""

    job_id: UUID
    tenant: str
    version: int
    state: JobState
    correlation_id: str
    trace_parent: str
    payload_sha256: str | None = None


class JobRepository(Protocol):
    """Jobs by id, from their streams (R0.2)."""

    def get(self, tenant: str, job_id: UUID) -> Job:
        """The job; `NotFound` where the tenant has none of that id."""
        ...

    def get_many(self, tenant: str, job_ids: Sequence[UUID]) -> dict[UUID, Job]:
        """Those jobs of the tenant that exist."""
        ...

    def save(
        self,
        events: Sequence[Event],
        expected_version: int | None,
        *,
        before: Job,
        lease: Lease | None = None,
        payload: bytes | None = None,
    ) -> Outcome:
        """Append what was decided about `before`, and change its row in the queue accordingly.

        Nothing is written (CONFLICT) unless the stream stands at `expected_version`; None where `lease` is the guard:
        that worker still holds that attempt, and nobody asked meanwhile to cancel. `payload` replaces the job's.
        """
        ...
