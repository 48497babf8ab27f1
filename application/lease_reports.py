"""What remote workers report of running attempts: progress (at most once a second a job), log lines, steps.

Log lines and steps are durable when the answer comes. Progress that comes too soon waits here for whatever comes next
of the attempt; where this process ends meanwhile it is gone, as it is with a worker in this program.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple
from uuid import UUID

from jobledger.domain import job as jobs
from jobledger.domain.errors import InvalidInput, LedgerBusy
from jobledger.domain.event import Event
from jobledger.domain.job import JobProgressed, Lease

from .dispatcher import Dispatcher
from .flow import Flow
from .held_leases import HeldLeases, lease_of, lost
from .lease_messages import RecordStep, Reported, ReportLog, ReportProgress, StepRecorded
from .ports import Clock, LedgerWriter, OpenJob
from .recorded_steps import LoggedBytes, RecordedSteps, encoded_output, step_key
from .result import Accepted
from .worker.failures import clean
from .worker.outcomes import Report, report_change
from .worker.reporting import INTERVAL_SECONDS, LEVELS, LINE_CHARACTERS, LOG_LIMIT_BYTES, NOTE_CHARACTERS, TRUNCATED
from .worker.steps import check_name
from .writes import ChangeJob, Outcome, WriteStatus

REMEMBERED_MAX = 10_000
"""Attempts whose last progress is remembered."""
TRIES = 8
"""How often a step is recorded anew when the job moves on between reading and writing."""


class _Last(NamedTuple):
    recorded_at: float
    waiting: JobProgressed | None = None


class WaitingProgress:
    """When progress of attempts was last recorded, and what came too soon after. May be used by any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last: OrderedDict[tuple[UUID, Lease], _Last] = OrderedDict()

    def offer(self, job: OpenJob, lease: Lease, progress: JobProgressed) -> bool:
        """Whether to record it now. Else it waits, in place of what waited before."""
        now = self._clock.monotonic()
        with self._lock:
            last = self._last.pop((job.job_id, lease), None)
            due = last is None or now - last.recorded_at >= INTERVAL_SECONDS
            self._last[job.job_id, lease] = _Last(now) if last is None or due else last._replace(waiting=progress)
            if len(self._last) > REMEMBERED_MAX:
                self._last.popitem(last=False)
            return due

    def take(self, job: OpenJob, lease: Lease, *, waited_seconds: float = 0.0) -> tuple[Report, ...]:
        """What waits, if the last was recorded so long ago; whoever takes it records it."""
        now = self._clock.monotonic()
        with self._lock:
            last = self._last.get((job.job_id, lease))
            if last is None or last.waiting is None or now - last.recorded_at < waited_seconds:
                return ()
            self._last[job.job_id, lease] = _Last(now)
        return (Report(last.waiting),)

    def peek(self, job: OpenJob, lease: Lease) -> tuple[Report, ...]:
        """What waits, to be recorded with the ending."""
        with self._lock:
            last = self._last.get((job.job_id, lease))
        return () if last is None or last.waiting is None else (Report(last.waiting),)

    def forget(self, job: OpenJob, lease: Lease) -> None:
        """The attempt is over."""
        with self._lock:
            self._last.pop((job.job_id, lease), None)


class LeaseReports:
    """The handlers of what is reported while an attempt runs."""

    def __init__(
        self, *, held: HeldLeases, waiting: WaitingProgress, writer: LedgerWriter, steps: RecordedSteps,
        logged: LoggedBytes,
    ) -> None:  # fmt: skip
        self._held = held
        self._waiting = waiting
        self._writer = writer
        self._steps = steps
        self._logged = logged

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the commands of this module."""
        dispatcher.register(ReportProgress, self.progress)
        dispatcher.register(ReportLog, self.log)
        dispatcher.register(RecordStep, self.record_step)

    def progress(self, command: ReportProgress, flow: Flow) -> Accepted[Reported]:
        """Record progress, unless some was within the last second: then it waits."""
        job, lease = self._held.row(command, flow), lease_of(command, flow)
        note = clean(command.note, NOTE_CHARACTERS)
        (facts,) = jobs.progress(job.state, lease, fraction=command.fraction, note=note)
        assert isinstance(facts, JobProgressed)
        due = self._waiting.offer(job, lease, facts)
        if due:
            self._write(job, lease, (Report(facts),), flow)
        return Accepted(_reported(job, recorded=due))

    def flush(self, job: OpenJob, lease: Lease, flow: Flow) -> None:
        """Record progress that has waited for a second."""
        waiting = self._waiting.take(job, lease, waited_seconds=INTERVAL_SECONDS)
        if waiting:
            self._write(job, lease, waiting, flow)

    def log(self, command: ReportLog, flow: Flow) -> Accepted[Reported]:
        """Record log lines, as far as the log has room."""
        if command.level not in LEVELS:
            raise InvalidInput(f"{command.level!r} is not a level", field="level", rule=f"one of {', '.join(LEVELS)}")
        job, lease = self._held.row(command, flow), lease_of(command, flow)
        lines = _within(_formatted(command, flow), LOG_LIMIT_BYTES - self._logged.of(job.tenant, job.job_id))
        if lines:
            decided = jobs.log(job.state, lease, level=command.level, line_count=len(lines))
            report = Report(decided[0], "\n".join(lines).encode())
            self._write(job, lease, (*self._waiting.take(job, lease), report), flow)
        return Accepted(_reported(job, recorded=bool(lines)))

    def record_step(self, command: RecordStep, flow: Flow) -> Accepted[StepRecorded]:
        """Record the output of a step once; told again, what was recorded first is the answer."""
        check_name(command.step)
        output = encoded_output(command.step, command.output)
        for _ in range(TRIES):
            job, lease = self._held.row(command, flow), lease_of(command, flow)
            known = self._steps.find(job.tenant, job.job_id, command.step)
            if known is not None:
                return Accepted(StepRecorded(known.key, known.output, already=True))
            key = step_key(job.job_id, command.step)
            decided = jobs.record_step(job.state, lease, step=command.step, key=key)
            metadata = flow.metadata(correlation_id=job.correlation_id, trace_parent=job.trace_parent)
            event = Event(job.job_id, 0, job.tenant, metadata, decided[0], output)
            # guarded by the version that was read: nobody recorded it meanwhile
            (outcome,) = self._writer.write(
                [ChangeJob(job.job_id, job.tenant, (event,), None, expected_version=job.version)]
            )
            if _is_written(outcome, job):
                return Accepted(StepRecorded(key, output, already=False))
        raise _kept_changing(job)

    def _write(self, job: OpenJob, lease: Lease, reports: tuple[Report, ...], flow: Flow) -> None:
        metadata = flow.metadata(correlation_id=job.correlation_id, trace_parent=job.trace_parent)
        (outcome,) = self._writer.write([report_change(job, lease, reports, metadata)])
        if not _is_written(outcome, job):
            raise lost()


def _is_written(outcome: Outcome, job: OpenJob) -> bool:
    if outcome.status is WriteStatus.BUSY:
        raise LedgerBusy(f"job {job.job_id} is held by another transaction", hint="try again")
    return outcome.status is WriteStatus.WRITTEN


def _kept_changing(job: OpenJob) -> LedgerBusy:
    return LedgerBusy(f"job {job.job_id} kept changing", hint="try again")


def _reported(job: OpenJob, *, recorded: bool) -> Reported:
    return Reported(recorded, job.state.cancel_reason is not None)


def _formatted(command: ReportLog, flow: Flow) -> list[str]:
    """Each line with its time and level, as those of workers in this program; a line that holds breaks is several."""
    begin = f"{flow.time.isoformat(timespec='milliseconds')} {command.level} "
    return [part for line in command.lines for part in clean(begin + line, LINE_CHARACTERS).splitlines()]


def _within(lines: list[str], room_bytes: int) -> list[str]:
    """The lines that there is room for. The last one is cut, and followed by a line that says so: the log is full."""
    kept: list[str] = []
    for line in lines:
        size = len(line.encode()) + 1
        if size > room_bytes:
            return [] if room_bytes <= 0 and not kept else [*kept, _cut(line, room_bytes), TRUNCATED]
        kept.append(line)
        room_bytes -= size
    return kept


def _cut(line: str, room_bytes: int) -> str:
    return line.encode()[: max(0, room_bytes)].decode(errors="ignore")
