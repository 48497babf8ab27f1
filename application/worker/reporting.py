"""Progress and log lines of a running attempt: coalesced, batched, capped, and persisted while it runs (R3.6)."""

from __future__ import annotations

import math
import threading
from concurrent.futures import Future, wait

from jobledger.domain import job as jobs
from jobledger.domain.errors import InvalidInput, JobledgerError
from jobledger.domain.job import JobLogged, JobProgressed

from ..writes import Outcome, WriteStatus
from .attempt import Attempt, Services
from .events import WorkerEventName
from .failures import clean, is_number
from .outcomes import Report, report_change

INTERVAL_SECONDS = 1.0
"""A job's progress is recorded at most once in so many seconds, and no log line waits longer."""
LOG_BATCH_BYTES = 32_000
LOG_LIMIT_BYTES = 1_000_000
NOTE_CHARACTERS = 500
LINE_CHARACTERS = 16_000
LEVELS = ("debug", "info", "warning", "error", "critical")
TRUNCATED = "... the log of this job is full; further lines are dropped"


class Reporter:
    """Collects what one attempt reports. At most one write of an attempt is under way at any time, so that what it
    reported is recorded in order."""

    def __init__(self, attempt: Attempt, services: Services) -> None:
        self._attempt = attempt
        self._services = services
        self._lock = threading.RLock()  # a future that is done already calls back at once
        self._progress: JobProgressed | None = None
        self._lines: list[str] = []
        self._level = 0
        self._line_bytes = 0
        self._logged_bytes = 0
        self._full = False
        self._sent_at = -math.inf
        self._in_flight: Future[list[Outcome]] | None = None
        attempt.pending = self

    def already_logged(self, size: int) -> None:
        """Earlier attempts of the job logged so many bytes; the cap is the job's."""
        self._logged_bytes += size

    def progress(self, fraction: float, note: str) -> None:
        """Take progress; it is sent at once if the last one was sent long enough ago."""
        fraction = checked_fraction(fraction)
        attempt = self._attempt
        note = clean(attempt.redact(str(note)), NOTE_CHARACTERS)
        decided = jobs.progress(attempt.job.state, attempt.lease, fraction=fraction, note=note)
        with self._lock:
            self._progress = decided[0] if isinstance(decided[0], JobProgressed) else None
        self._services.tell(WorkerEventName.PROGRESS, attempt.job, note, fraction)
        self.flush_due(self._services.clock.monotonic())

    def log(self, message: str, level: str) -> None:
        """Take a log line (several, where the message holds line breaks)."""
        if level not in LEVELS:
            raise InvalidInput(f"{level!r} is not a level", field="level", rule=f"one of {', '.join(LEVELS)}")
        message = self._attempt.redact(message)
        line = f"{self._services.clock.now().isoformat(timespec='milliseconds')} {level} {message}"
        with self._lock:
            for part in clean(line, LINE_CHARACTERS).splitlines():
                self._add_line(part, LEVELS.index(level))
            due = self._line_bytes >= LOG_BATCH_BYTES
        if due:
            self.send()

    def _add_line(self, line: str, level: int) -> None:
        if self._full:
            return
        size = len(line.encode()) + 1
        if self._logged_bytes + size > LOG_LIMIT_BYTES:
            self._full = True
            line, size = TRUNCATED, len(TRUNCATED) + 1
        self._lines.append(line)
        self._line_bytes += size
        self._logged_bytes += size
        self._level = max(self._level, level)

    def flush_due(self, now: float) -> None:
        """Send what waits, unless something was sent within the last second."""
        if now - self._sent_at >= INTERVAL_SECONDS and (self._progress is not None or self._lines):
            self.send(now)

    def send(self, now: float | None = None) -> None:
        """Hand what waits to the ledger, without waiting for it. Does nothing while a write is under way."""
        transaction = self._attempt.transaction
        if transaction is not None and transaction.is_open:
            return  # it waits for the commit, and is recorded with it
        with self._lock:
            if self._in_flight is not None and not self._in_flight.done():
                return
            reports = self._take()
            if not reports:
                return
            self._sent_at = self._services.clock.monotonic() if now is None else now
            self._in_flight = self._submit(reports)

    def _submit(self, reports: tuple[Report, ...]) -> Future[list[Outcome]] | None:
        attempt, services = self._attempt, self._services
        change = report_change(attempt.job, attempt.lease, reports, services.metadata(attempt.job))
        try:
            future = services.writer.submit([change])
        except JobledgerError:
            self._put_back(reports)
            return None
        future.add_done_callback(lambda done: self._sent(done, reports))
        return future

    def _sent(self, done: Future[list[Outcome]], reports: tuple[Report, ...]) -> None:
        if done.cancelled() or done.exception() is not None:
            with self._lock:
                self._put_back(reports)
        elif done.result()[0].status is not WriteStatus.WRITTEN:
            self._attempt.lost = True

    def put_back(self, reports: tuple[Report, ...]) -> None:
        """What was taken is not recorded: keep it for the ending."""
        with self._lock:
            self._put_back(reports)

    def _put_back(self, reports: tuple[Report, ...]) -> None:
        """Keep what could not be recorded for the next time; newer progress replaces older."""
        for report in reports:
            if isinstance(report.facts, JobProgressed):
                self._progress = self._progress or report.facts
            elif report.body is not None:
                self._lines[:0] = report.body.decode().splitlines()
                self._line_bytes += len(report.body)

    def take_all(self) -> tuple[Report, ...]:
        """What was not sent yet, to be recorded with the ending."""
        with self._lock:
            return self._take()

    def _take(self) -> tuple[Report, ...]:
        attempt, taken = self._attempt, []
        if self._progress is not None:
            taken.append(Report(self._progress))
            self._progress = None
        if self._lines:
            decided = jobs.log(
                attempt.job.state, attempt.lease, level=LEVELS[self._level], line_count=len(self._lines)
            )  # fmt: skip
            assert isinstance(decided[0], JobLogged)
            taken.append(Report(decided[0], "\n".join(self._lines).encode()))
            self._lines, self._line_bytes, self._level = [], 0, 0
        return tuple(taken)

    @property
    def in_flight(self) -> Future[list[Outcome]] | None:
        """The write under way, or None."""
        future = self._in_flight
        return None if future is None or future.done() else future

    def settle(self) -> None:
        """Wait until no write of this attempt is under way."""
        future = self.in_flight
        if future is not None:
            wait([future])


def checked_fraction(fraction: float) -> float:
    """Progress as a number. `InvalidInput` for anything that is none from 0 to 1."""
    if not is_number(fraction) or not 0 <= fraction <= 1:  # NaN is not within either
        raise InvalidInput(
            f"progress is {fraction!r}", field="fraction", rule="a number from 0 to 1",
            hint="divide what is done by what there is to do",
        )  # fmt: skip
    return float(fraction)
