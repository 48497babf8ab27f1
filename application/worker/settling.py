"""Records endings, many at a time. Nothing counts as done before it is durable.

Endings gather while the one commit before them is under way, so batches grow with the load and a single ending waits
for nobody. A second batch is handed in early when it is full, so that the database always has work.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from jobledger.domain.errors import IllegalTransition, JobledgerError, LeaseLost, LedgerBusy, LedgerUnavailable
from jobledger.domain.job import AttemptError, Measured

from ..ports import Identifiers, Queue
from ..writes import ChangeJob, Outcome, WriteStatus
from .attempt import Attempt, Services
from .events import WorkerEventName
from .failures import digest, failure, traceback_of
from .held import Held
from .log import say
from .outcomes import Committed, Ending, Failed, Report, Stopped, Succeeded, change_of
from .reporting import Reporter
from .settlement import TOLD, Flight, Settlement
from .trouble import FATAL, Trouble

BATCH = 500
"""The most endings of one write."""
BATCH_BYTES = 8_000_000
"""A write ends with the result that reaches this: hundreds of large results are more than one transaction takes."""
LINGER_SECONDS = 0.005
"""How long an ending may wait for others while more jobs are about to end."""
STUCK_SECONDS, FLIGHTS_MAX = 0.25, 8
_REDECIDE_MAX = 5


class Settler:
    """Takes endings from any thread and records them on its own."""

    def __init__(
        self, services: Services, *, queue: Queue, identifiers: Identifiers, held: Held, trouble: Trouble,
        backlog: Callable[[], int], open_again: Callable[[str], None],
    ) -> None:  # fmt: skip
        """`backlog` says how many attempts wait here to begin; `open_again` hears of queues in which a job may have
        become claimable."""
        self._services = services
        self._queue = queue
        self._identifiers = identifiers
        self._held = held
        self._trouble = trouble
        self._backlog = backlog
        self._open_again = open_again
        self._pending: deque[Settlement] = deque()
        self._flights: list[Flight] = []
        self._wake = threading.Event()
        self.counts: dict[WorkerEventName, int] = dict.fromkeys((*TOLD.values(), WorkerEventName.LEASE_LOST), 0)
        """How many attempts ended in which way, and that is durable."""
        self._closing = False
        self._given_up = False
        self._thread = threading.Thread(target=self._loop, name=f"{services.worker}-settle", daemon=True)

    def start(self) -> None:
        """Begin to record."""
        self._thread.start()

    def close(self, timeout_seconds: float) -> bool:
        """Record what was handed in, for at most so long. False if something could not be recorded in time."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_seconds)
        finished = not self._thread.is_alive()
        self._given_up = True
        self._wake.set()
        return finished

    @property
    def has_died(self) -> bool:
        """Whether its thread ran, and does not any more."""
        return self._thread.ident is not None and not self._thread.is_alive()

    @property
    def unsettled(self) -> int:
        """Endings that are not durable yet, roughly."""
        return len(self._pending) + sum(len(flight.settlements) for flight in self._flights)

    def settle(self, attempt: Attempt, ending: Ending, measured: Measured) -> None:
        """Take an ending. Never blocks on the ledger."""
        if attempt.transaction is not None and not isinstance(ending, Committed):
            attempt.transaction.abandon()  # whoever ends the attempt in another way ends its transaction
        reporter = attempt.pending
        if isinstance(reporter, Reporter):
            in_flight = reporter.in_flight
            if in_flight is not None:
                # A report is under way: its place in the stream is before the ending.
                in_flight.add_done_callback(lambda _: self._add(attempt, ending, measured, reporter.take_all()))
                return
            self._add(attempt, ending, measured, reporter.take_all())
        else:
            self._add(attempt, ending, measured, ())

    def _add(self, attempt: Attempt, ending: Ending, measured: Measured, reports: tuple[Report, ...]) -> None:
        pending = self._pending
        pending.append(Settlement(attempt, ending, measured, attempt.job, reports))
        size = len(pending)
        if (size == 1 or size >= BATCH or not self._backlog()) and not self._wake.is_set():
            self._wake.set()

    # --- on the settler's own thread -----------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._given_up:
            self._wake.wait(STUCK_SECONDS if self._pending else None)
            self._wake.clear()
            try:
                self._reap()
                self._linger()
                while self._should_flush():
                    self._flush()
            except Exception as error:  # noqa: BLE001 - this thread must outlive whatever it meets
                self._trouble.error("worker.settling_failed", error)
            if self._closing and self._nothing_left():
                return

    def settle_now(self) -> None:
        """Record all that was handed in, on the calling thread: for a worker that never called `start`."""
        while self._pending or self._flights:
            self._reap()
            while self._should_flush():
                self._flush()
            if self._flights:
                self._wake.wait(STUCK_SECONDS)
                self._wake.clear()

    def _nothing_left(self) -> bool:
        """Whether every ending is durable, those included that wait for a report before them."""
        return not self._pending and not self._flights and (not self._held or self._trouble.fatal is not None)

    def _linger(self) -> None:
        if self._pending and not self._flights and len(self._pending) < BATCH and self._backlog() and not self._closing:
            self._wake.wait(LINGER_SECONDS)
            self._wake.clear()

    def _should_flush(self) -> bool:
        if not self._pending or self._given_up:
            return False
        if not self._flights:
            return True
        stuck_since = self._services.clock.monotonic() - STUCK_SECONDS
        moving = sum(flight.begun_at > stuck_since for flight in self._flights)
        return len(self._flights) < FLIGHTS_MAX and (moving == 0 or (moving == 1 and len(self._pending) >= BATCH))

    def _flush(self) -> None:
        pending = self._pending
        taken: list[Settlement] = []
        size = 0
        while pending and len(taken) < BATCH and size < BATCH_BYTES:
            taken.append(pending.popleft())
            size += taken[-1].size
        settlements: list[Settlement] = []
        changes: list[ChangeJob] = []
        for settlement in taken:
            change = self._decide(settlement)
            if change is not None:
                settlements.append(settlement)
                changes.append(change)
        if changes:
            self._submit(settlements, changes)

    def _submit(self, settlements: list[Settlement], changes: list[ChangeJob]) -> None:
        asked = self._trouble.asking
        try:
            future = self._services.writer.submit(changes)
        except Exception as error:  # noqa: BLE001 - told like what the future would have told
            future = Future()
            future.set_exception(error)
        self._flights.append(Flight(settlements, future, self._services.clock.monotonic(), asked))
        future.add_done_callback(lambda _: self._wake.set())

    def _decide(self, settlement: Settlement) -> ChangeJob | None:
        attempt, ending, job = settlement.attempt, settlement.ending, settlement.job
        if isinstance(ending, Committed):
            self._recorded(settlement)
            return None
        if attempt.lost:
            self._drop(settlement)
            return None
        if isinstance(ending, Stopped) and job.state.cancel_reason is None:
            self._redecide(settlement)  # who asked, and why, stands in the row
            return None
        try:
            jitter = 0.0 if isinstance(ending, Succeeded) else self._identifiers.jitter()
            return change_of(
                job, attempt.lease, ending, settlement.measured, settlement.reports,
                metadata=self._services.metadata(job), jitter=jitter,
            )  # fmt: skip
        except LeaseLost:
            self._drop(settlement)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's and becomes its failure
            self._record_otherwise(settlement, error)
        return None

    def _reap(self) -> None:
        done = [flight for flight in self._flights if flight.future.done()]
        for flight in done:
            self._flights.remove(flight)
            error = flight.future.exception()
            if error is None:
                self._trouble.over(flight.asked)
                for settlement, outcome in zip(flight.settlements, flight.future.result(), strict=True):
                    self._took(settlement, outcome)
            elif isinstance(error, (LedgerBusy, LedgerUnavailable)):
                self._pending.extendleft(reversed(flight.settlements))
                self._wait_out(error)
            elif isinstance(error, FATAL):
                self._trouble.fatal = error
            elif len(flight.settlements) > 1:
                self._one_by_one(flight.settlements)
            else:
                self._record_otherwise(flight.settlements[0], error)

    def _wait_out(self, error: JobledgerError) -> None:
        pause_seconds = self._trouble.pause(error)
        if self._closing:
            pause_seconds = min(pause_seconds, 0.2)
        threading.Event().wait(pause_seconds)

    def _one_by_one(self, settlements: list[Settlement]) -> None:
        """A batch that cannot be written as it is: find the one that is to blame."""
        for settlement in settlements:
            change = self._decide(settlement)
            if change is None:
                continue
            try:
                self._took(settlement, self._services.writer.write([change])[0])
            except (LedgerBusy, LedgerUnavailable):
                self._pending.append(settlement)
            except Exception as error:  # noqa: BLE001 - see _record_otherwise
                self._record_otherwise(settlement, error)

    def _record_otherwise(self, settlement: Settlement, error: BaseException) -> None:
        """The ending itself cannot be recorded (say, a text that the database refuses): record that instead."""
        attempt = settlement.attempt
        self._trouble.error("worker.ending_refused", error, job_id=str(attempt.job.job_id))
        if settlement.tries >= _REDECIDE_MAX:
            self._held.remove(attempt)  # its lease is unknown from here on, and the heartbeat gives it back
            return
        told = AttemptError("RecordingFailed", failure(error).message, digest("recording-failed"))
        self._pending.append(
            settlement._replace(ending=Failed(told, traceback_of(error)), reports=(), tries=_REDECIDE_MAX)
        )
        self._wake.set()

    def _took(self, settlement: Settlement, outcome: Outcome) -> None:
        if outcome.status is WriteStatus.BUSY:
            self._pending.append(settlement)
            return
        if outcome.status is not WriteStatus.WRITTEN:
            self._redecide(settlement)
            return
        self._recorded(settlement)

    def _recorded(self, settlement: Settlement) -> None:
        """The ending is durable."""
        attempt, ending = settlement.attempt, settlement.ending
        self._held.remove(attempt)
        name = TOLD[type(ending)]
        self.counts[name] += 1
        if self._services.events.heard(name):
            self._services.tell(name, attempt.job, settlement.detail)
        if attempt.frees_others or not isinstance(ending, (Succeeded, Committed, Stopped)):
            self._open_again(attempt.job.state.queue)

    def _redecide(self, settlement: Settlement) -> None:
        """The row is not what the ending was decided on: look again, and decide again."""
        attempt = settlement.attempt
        try:
            job = self._queue.open_jobs(attempt.job.tenant, [attempt.job.job_id]).get(attempt.job.job_id)
        except (LedgerBusy, LedgerUnavailable) as error:
            self._pending.append(settlement)
            self._wait_out(error)
            self._wake.set()
            return
        except Exception as error:  # noqa: BLE001 - neither it nor those that travel with it may be lost
            if settlement.tries >= _REDECIDE_MAX:
                self._record_otherwise(settlement, error)
                return
            self._trouble.error("worker.row_not_read", error, job_id=str(attempt.job.job_id))
            self._pending.append(settlement._replace(tries=settlement.tries + 1))
            self._wake.set()
            return
        holds = job is not None and (job.state.worker, job.state.attempt) == attempt.lease
        if job is None or not holds or settlement.tries >= _REDECIDE_MAX:
            self._drop(settlement)
            return
        ending = settlement.ending
        if isinstance(ending, Stopped) and job.state.cancel_reason is None:
            nobody = IllegalTransition(job.state.status, "cancelled", "nobody asked to cancel the job")
            ending = Failed(failure(nobody), None)
        self._pending.append(settlement._replace(job=job, ending=ending, tries=settlement.tries + 1))
        self._wake.set()

    def _drop(self, settlement: Settlement) -> None:
        attempt = settlement.attempt
        attempt.lost = True
        self._held.remove(attempt)
        self.counts[WorkerEventName.LEASE_LOST] += 1
        say(
            "warning", "worker.lease_lost", tenant=attempt.job.tenant, job_id=str(attempt.job.job_id),
            attempt=attempt.lease.attempt, ending=type(settlement.ending).__name__,
        )  # fmt: skip
        self._services.tell(WorkerEventName.LEASE_LOST, attempt.job, type(settlement.ending).__name__)
