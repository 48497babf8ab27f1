"""Acts on many dead jobs at once: requeue or discard all that a filter matches.

The list of dead jobs only proposes. Each job is decided from its own stream and saved under the version that was read,
so none is touched that is not in the dead-letter queue at that moment, and none twice, however far the list lags. A
batch is one commit; the act itself is recorded before the first and after the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

from jobledger.domain import dlq
from jobledger.domain import job as decisions
from jobledger.domain.dlq import BulkAct, DlqBulkBegun, DlqBulkEnded, DlqBulkProgressed, dlq_stream
from jobledger.domain.errors import (
    CorruptEvent,
    CountChanged,
    JobledgerError,
    LedgerBusy,
    LedgerError,
    Refusal,
    UnknownTopic,
    VersionConflict,
)
from jobledger.domain.event import Event, RecordedEvent, event_id
from jobledger.domain.job import Decision, JobSentToDlq, JobState, JobStatus

from .dispatcher import Dispatcher
from .dlq_messages import SILENT_SECONDS, DiscardDlq, DlqBulkDone, DlqProgress, DlqTrouble, RequeueDlq
from .flow import Flow
from .job_repository import job_change, job_from
from .known import KnownTenants
from .ports import Clock, DlqRow, EventReader, Job, JobViews, LedgerWriter
from .positions import Positions
from .result import Accepted
from .writes import AppendEvents, ChangeJob, Outcome, WriteStatus

BATCH = 250
"""Jobs of one commit."""
TRIES = 5
"""How often a job is decided anew when it moves on, or is held, between reading and saving."""
INTERRUPTED_SECONDS = 10.0
"""How long an interrupted act waits to hear what became of the batch under way."""
PROGRESS_SECONDS = SILENT_SECONDS / 3
"""How often an act that takes longer says on record that it goes on."""
TROUBLES_MAX = 50
"""Of jobs that stay in the dead-letter queue, so many are named."""

DlqCommand = RequeueDlq | DiscardDlq
Decide = Callable[[JobState], Decision]


class _Run:
    """An act under way."""

    def __init__(self, act: BulkAct, command: DlqCommand, flow: Flow, decide: Decide, begun_version: int) -> None:
        self.act = act
        self.command = command
        self.flow = flow
        self.decide = decide
        self.begun_version = begun_version
        self.changed = self.skipped = self.refused = 0
        self.troubles: list[DlqTrouble] = []
        self.position: int | None = None

    @property
    def seen(self) -> int:
        """Jobs of which it is known what became of them."""
        return self.changed + self.skipped + self.refused

    @property
    def event_id(self) -> str:
        """Of the record that it began: the cause of what happens to each job."""
        return event_id(dlq_stream(self.command.tenant), self.begun_version)

    def write(self, job: Job) -> ChangeJob:
        """What is decided about a job, under the version it was read at. Raises the `Refusal` that says why not."""
        metadata = self.flow.metadata(
            correlation_id=job.correlation_id, trace_parent=job.trace_parent, causation_id=self.event_id
        )
        facts = self.decide(job.state)
        events = [Event(job.job_id, job.version + n, job.tenant, metadata, one) for n, one in enumerate(facts, start=1)]
        return job_change(events, job.version, before=job)

    def settle(self, outcome: Outcome) -> bool:
        """Count what became of a write; False where it has to be decided anew."""
        if outcome.status is WriteStatus.WRITTEN:
            self.changed += 1
            self.position = max(self.position or 0, outcome.position or 0)
        elif outcome.status is WriteStatus.MISSING:
            self.skipped += 1
        else:
            return False
        return True

    def refuse(self, job_id: UUID, error: JobledgerError) -> None:
        """A job stays where it is."""
        self.refused += 1
        if len(self.troubles) < TROUBLES_MAX:
            self.troubles.append(DlqTrouble(job_id, error.code, error.message))

    def report(self) -> None:
        """Tell whoever wants to know how far this has come."""
        if self.command.progress is not None:
            self.command.progress(DlqProgress(self.seen, self.changed, self.skipped, self.refused))


class _Streams(NamedTuple):
    """Histories of jobs, and those that cannot be read."""

    events: dict[UUID, list[RecordedEvent]]
    unreadable: dict[UUID, LedgerError]


class DlqControl:
    """The handlers of the commands about many dead jobs."""

    def __init__(
        self,
        *,
        views: JobViews,
        reader: EventReader,
        writer: LedgerWriter,
        tenants: KnownTenants,
        positions: Positions,
        clock: Clock,
    ) -> None:
        self._views = views
        self._reader = reader
        self._writer = writer
        self._tenants = tenants
        self._positions = positions
        self._clock = clock

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the commands of this module."""
        dispatcher.register(RequeueDlq, self.requeue)
        dispatcher.register(DiscardDlq, self.discard)

    def requeue(self, command: RequeueDlq, flow: Flow) -> Accepted[DlqBulkDone]:
        """Give new attempts to all dead jobs that the filter matches."""

        def decide(state: JobState) -> Decision:
            return decisions.requeue(
                state, now=flow.time, reason=command.reason, ticket=command.ticket, attempts_granted=command.attempts
            )

        self._tenants.require_not_suspended(command.tenant)
        return self._act("requeue", command, flow, decide)

    def discard(self, command: DiscardDlq, flow: Flow) -> Accepted[DlqBulkDone]:
        """Give up all dead jobs that the filter matches."""

        def decide(state: JobState) -> Decision:
            return decisions.discard(state, reason=command.reason, ticket=command.ticket)

        return self._act("discard", command, flow, decide)

    def _act(self, act: BulkAct, command: DlqCommand, flow: Flow, decide: Decide) -> Accepted[DlqBulkDone]:
        self._tenants.require_known(command.tenant)
        begun = dlq.begin(
            act, command.where, confirmed=command.confirmed, reason=command.reason, ticket=command.ticket,
            attempts_granted=command.attempts if isinstance(command, RequeueDlq) else None,
        )  # fmt: skip
        found = self._views.dlq_summary(command.tenant, command.where, groups=1).jobs
        if found > command.confirmed:
            raise CountChanged(command.confirmed, found)
        run = _Run(act, command, flow, decide, self._record(command.tenant, begun, flow).version or 0)
        try:
            if command.begun is not None:
                command.begun(run.event_id)
            self._work(run)
        except BaseException:
            with suppress(LedgerError):  # the ledger may be what failed; what stopped us is what is raised
                self._end(run, finished=False)
            raise
        position = self._end(run, finished=True)
        done = DlqBulkDone(
            act, run.event_id, command.confirmed, run.changed, run.skipped, run.refused, tuple(run.troubles),
            self._positions.text(position),
        )  # fmt: skip
        return Accepted(done, done.position)

    def _work(self, run: _Run) -> None:
        """Page after page, and never more jobs than were confirmed."""
        after, left, told_at = None, run.command.confirmed, self._clock.monotonic()
        while left > 0:
            page = self._views.dlq(run.command.tenant, run.command.where, after=after, limit=min(BATCH, left))
            self._batch(run, page.rows)
            run.report()
            told_at = self._tell(run, told_at)
            left -= len(page.rows)
            after = page.next
            if after is None:
                return

    def _batch(self, run: _Run, rows: Sequence[DlqRow]) -> None:
        left = {row.job_id: row for row in rows}
        busy = False
        for _ in range(TRIES):
            writes = self._decide(run, left)
            if not writes:
                return
            outcomes = self._write(run, writes)
            for write, outcome in zip(writes, outcomes, strict=True):
                if run.settle(outcome):
                    del left[write.job_id]
            busy = any(outcome.status is WriteStatus.BUSY for outcome in outcomes)
        for job_id in left:
            run.refuse(job_id, _held() if busy else _moving())

    def _decide(self, run: _Run, left: dict[UUID, DlqRow]) -> list[ChangeJob]:
        """The writes for the jobs that are still dead of what the list says; the others are settled here."""
        streams = self._read(run.command.tenant, list(left))
        writes: list[ChangeJob] = []
        for job_id, row in list(left.items()):
            if job_id in streams.unreadable:
                run.refuse(job_id, streams.unreadable[job_id])
            elif (job := _dead_of(row, streams.events.get(job_id, []))) is None:
                run.skipped += 1
            else:
                try:
                    writes.append(run.write(job))
                    continue
                except Refusal as error:
                    run.refuse(job_id, error)
            del left[job_id]
        return writes

    def _read(self, tenant: str, job_ids: list[UUID]) -> _Streams:
        """The histories; where one cannot be read, halves of them until that one is alone."""
        try:
            return _Streams(self._reader.streams(tenant, job_ids), {})
        except (UnknownTopic, CorruptEvent) as error:
            if len(job_ids) == 1:
                return _Streams({}, {job_ids[0]: error})
        middle = len(job_ids) // 2
        first, second = self._read(tenant, job_ids[:middle]), self._read(tenant, job_ids[middle:])
        return _Streams({**first.events, **second.events}, {**first.unreadable, **second.unreadable})

    def _write(self, run: _Run, writes: list[ChangeJob]) -> list[Outcome]:
        written = self._writer.submit(writes)
        try:
            return written.result()
        except LedgerBusy:  # none of them was stored
            return [Outcome(WriteStatus.BUSY)] * len(writes)
        except KeyboardInterrupt:  # what was handed in is stored all the same, and must be counted
            with suppress(TimeoutError, JobledgerError):
                for outcome in written.result(INTERRUPTED_SECONDS):
                    run.settle(outcome)
            raise

    def _tell(self, run: _Run, told_at: float) -> float:
        """Say on record that it goes on, unless that was said a moment ago; when it was said last."""
        now = self._clock.monotonic()
        if now - told_at < PROGRESS_SECONDS:
            return told_at
        progressed = DlqBulkProgressed(
            act=run.act, begun_version=run.begun_version, changed=run.changed, skipped=run.skipped, refused=run.refused
        )
        with suppress(LedgerBusy, VersionConflict):  # then the next time
            self._record(run.command.tenant, progressed, run.flow, causation_id=run.event_id)
        return now

    def _end(self, run: _Run, *, finished: bool) -> int | None:
        """Record what came of it; the last position reached."""
        ended = DlqBulkEnded(
            act=run.act, begun_version=run.begun_version, changed=run.changed, skipped=run.skipped,
            refused=run.refused, finished=finished,
        )  # fmt: skip
        return self._record(run.command.tenant, ended, run.flow, causation_id=run.event_id).position

    def _record(
        self,
        tenant: str,
        facts: DlqBulkBegun | DlqBulkProgressed | DlqBulkEnded,
        flow: Flow,
        *,
        causation_id: str | None = None,
    ) -> Outcome:
        """Append to the stream of the tenant's dead-letter queue, which others may be writing, too."""
        stream = dlq_stream(tenant)
        for _ in range(TRIES):
            version = len(self._reader.stream(tenant, stream)) + 1
            event = Event(stream, version, tenant, flow.metadata(causation_id=causation_id), facts)
            outcome = self._writer.write([AppendEvents((event,))])[0]
            if outcome.status is WriteStatus.WRITTEN:
                return outcome._replace(version=version)
        raise VersionConflict("others keep acting on this dead-letter queue", field="tenant", hint="try again")


def _dead_of(row: DlqRow, events: Sequence[RecordedEvent]) -> Job | None:
    """The job, if it is in the dead-letter queue and died when the list says: who died anew since then was not
    looked at."""
    job = job_from(row.tenant, row.job_id, events)
    if job is None or job.state.status is not JobStatus.DLQ:
        return None
    died_at = [event.recorded_at for event in events if isinstance(event.facts, JobSentToDlq)][-1]
    return job if died_at == row.dead_at else None


def _held() -> LedgerBusy:
    return LedgerBusy("another transaction holds the job")


def _moving() -> VersionConflict:
    return VersionConflict("the job kept changing")
