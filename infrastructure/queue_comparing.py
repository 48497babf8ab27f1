"""The work queue beside what the ledger says, row by row: both come in the order of job ids, and neither is ever held
as a whole.

Not compared, because it is no fact of a job: who is alive (`workers`), what limits count (`limit_holds`, `limit_uses`:
claims clear away what has ended), and idempotency keys, which outlive their jobs. Of a row:

- a delayed job that is due may be `pending` already: claims promote a bounded number of those;
- a lane may or may not name the persona: it follows the limits of personas with some delay (`apply_limits`), and a
  claim looks at the limits themselves;
- the payload is compared by its hash, options by their meaning, because a newer program may have encoded them anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from pydantic_core import to_json

from jobledger.application.flow_control import lane_of
from jobledger.domain.errors import CorruptEvent, Refusal, UnknownTopic
from jobledger.domain.job import JOB_FACTS, JobStatus
from jobledger.domain.topics import TOPICS
from jobledger.domain.unreadable import why_unreadable
from jobledger.projections.open_jobs import ENDINGS, QueuedJob, fold_open_job
from jobledger.projections.projection import Row, Value
from jobledger.projections.shadow import SAMPLE_SIZE, Comparison, Difference

from . import mapper, queue_row

LedgerRow = tuple[UUID, int, str, int, datetime, str, bytes]
"""Stream, version, tenant, position, `recorded_at`, topic, state."""

NO_PAYLOAD_SHA256 = hashlib.sha256(b"").hexdigest()
_OTHER_STREAMS = TOPICS.keys() - {facts.topic for facts in JOB_FACTS}
"""What a stream that is no job begins with: a refused dispatch has the id that the job would have had."""
_REPORT_EVERY = 20_000


class StoredRow(NamedTuple):
    """A row of the table `open_jobs`, in the order of its columns; `payload` is tag and hash, as in `p:9f86d0...`
    (`?`: no tag that is known)."""

    job_id: UUID
    tenant_id: str
    version: int
    status: str
    queue: str
    job_type: str
    persona: str | None
    priority: int
    due_at: datetime
    attempt: int
    attempts_counted: int
    attempts_allowed: int
    stalls: int
    worker: str | None
    started_at: datetime | None
    lock_key: str | None
    limit_key: str | None
    lane: str | None
    cancel_reason: str | None
    spec: bytes
    identity: bytes
    thread: bytes
    payload: str


class Pair(NamedTuple):
    """What the ledger and the table say about one job; not both are None."""

    job: QueuedJob | None
    fresh: Row | None
    live: Row | None

    @property
    def differs(self) -> bool:
        """Whether they do not agree."""
        return self.fresh != self.live


Report = Callable[[int], None]
"""Told how many events were read so far."""


class Compared:
    """Goes through ledger and table once; when it is through, it knows all that a `Comparison` says."""

    def __init__(
        self, events: Iterable[LedgerRow], rows: Iterable[StoredRow], *, now: datetime, report: Report | None = None
    ) -> None:
        self._events = events
        self._rows = rows
        self._now = now
        self._report = report
        self._sample: list[Difference] = []
        self._digests = hashlib.sha256(), hashlib.sha256()
        self._counts = [0, 0]
        self.events = 0
        self.differing = 0

    def pairs(self) -> Iterator[Pair]:
        """Each job that is in the queue, or should be, in the order of ids."""
        fresh, live = self._jobs(), iter(self._rows)
        job, stored = next(fresh, None), next(live, None)
        while job is not None or stored is not None:
            if stored is None or (job is not None and job.job_id < stored.job_id):
                yield self._pair(job, None)
                job = next(fresh, None)
            elif job is None or stored.job_id < job.job_id:
                yield self._pair(None, stored)
                stored = next(live, None)
            else:
                yield self._pair(job, stored)
                job, stored = next(fresh, None), next(live, None)

    def comparison(self, position: int) -> Comparison:
        """What `pairs` has come to, once it is through."""
        live, fresh = self._digests
        return Comparison(
            position, self._counts[0], self._counts[1], self.differing, live.hexdigest(), fresh.hexdigest(),
            tuple(self._sample),
        )  # fmt: skip

    def _pair(self, job: QueuedJob | None, stored: StoredRow | None) -> Pair:
        fresh = None if job is None else _canonical(expected(job), self._now)
        live = None if stored is None else _canonical(stored, self._now)
        pair = Pair(job, fresh, live)
        for number, row in enumerate((live, fresh)):
            if row is not None:
                self._counts[number] += 1
                self._digests[number].update(to_json(list(row.values())) + b"\n")
        if pair.differs:
            self.differing += 1
            if len(self._sample) < SAMPLE_SIZE:
                row = fresh or live or {}
                self._sample.append(Difference((row["job_id"],), live, fresh))
        return pair

    def _jobs(self) -> Iterator[QueuedJob]:
        for _, stream in groupby(self._counted(), lambda event: event[0]):
            job = _unfinished(list(stream))
            if job is not None:
                yield job

    def _counted(self) -> Iterator[LedgerRow]:
        for event in self._events:
            self.events += 1
            if self._report is not None and self.events % _REPORT_EVERY == 0:
                self._report(self.events)
            yield event


def expected(job: QueuedJob) -> StoredRow:
    """The row that a job should have, as both engines store it."""
    state = job.state
    return StoredRow(
        job.job_id, job.tenant, job.version, state.status.value, state.queue, state.job_type, state.persona,
        state.priority, state.due_at, state.attempt, state.attempts_counted, state.attempts_allowed, state.stalls,
        state.worker, job.started_at, state.lock_key, state.limit_key, lane_of(state.lock_key, state.limit_key, None),
        state.cancel_reason, queue_row.encode_spec(state),
        queue_row.encode_identity(state.job_type, state.queue, state.persona),
        queue_row.encode_correlation(job.correlation_id, job.trace_parent),
        f"{mapper.PLAIN.decode()}:{job.payload_sha256 or NO_PAYLOAD_SHA256}",
    )  # fmt: skip


def has_payload(row: StoredRow) -> bool:
    """Whether the payload stands in the ledger; a job that was dispatched without one has an empty one."""
    return not row.payload.endswith(NO_PAYLOAD_SHA256)


def _unfinished(stream: list[LedgerRow]) -> QueuedJob | None:
    """The job of a whole stream. Nothing is decoded of one that is finished, which most are."""
    if stream[-1][5] in ENDINGS or stream[0][5] in _OTHER_STREAMS:
        return None
    job: QueuedJob | None = None
    try:
        for row in stream:
            job = fold_open_job(job, mapper.recorded_event(*row))
    except UnknownTopic:
        raise
    except (Refusal, ValueError) as error:
        why = str(error) if isinstance(error, Refusal) else why_unreadable(error)
        raise CorruptEvent(f"the history of job {stream[0][0]} cannot be folded: {why}", field="stream") from None
    return job


def _canonical(row: StoredRow, now: datetime) -> Row:
    """A row without what may differ for a while; see above."""
    values: dict[str, Value] = {name: _shown(value) for name, value in zip(row._fields, row, strict=True)}
    if row.status == JobStatus.DELAYED.value and row.due_at <= now:
        values["status"] = JobStatus.PENDING.value
    if row.persona is not None and row.lane == lane_of(row.lock_key, row.limit_key, row.persona):
        values["lane"] = lane_of(row.lock_key, row.limit_key, None)
    spec = queue_row.decode_spec(row.spec)
    if spec is not queue_row.UNREADABLE:
        values["spec"] = spec.model_dump_json()
    return values


def _shown(value: object) -> Value:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value  # type: ignore[return-value]
