"""Keeps this worker's leases alive, on a thread of its own, and learns what the database believes it holds."""

from __future__ import annotations

import threading
from collections.abc import Callable

from jobledger.domain import job as jobs
from jobledger.domain.errors import JobledgerError, LeaseLost, LedgerBusy, LedgerUnavailable
from jobledger.domain.job import Lease

from ..maintenance import changed_by
from ..ports import HeldLease, OpenJob, Queue, WorkerHeartbeat, WorkerReport
from ..writes import ChangeJob
from .attempt import Attempt, LeaseKey, Services
from .clock_skew import ClockSkew
from .held import Held
from .log import say
from .options import WorkerOptions
from .trouble import Trouble


class Heartbeat:
    """Renews at `renewal_seconds`, and more often while handlers run for long, so that a request to cancel reaches
    them within a second."""

    def __init__(
        self, *, services: Services, code_version: str, options: WorkerOptions, queue: Queue, held: Held,
        running: dict[LeaseKey, Attempt], trouble: Trouble, open_again: Callable[[str], None],
        report: Callable[[], WorkerReport], skew: ClockSkew,
    ) -> None:  # fmt: skip
        """`report` is asked with each beat for what the worker says of itself."""
        self._services = services
        self._code_version = code_version
        self._options = options
        self._queue = queue
        self._held = held
        self._running = running
        self._trouble = trouble
        self._open_again = open_again
        self._report = report
        self._skew = skew
        self.last_report = WorkerReport()
        """What the last beat said."""
        self._stop = threading.Event()
        self._beaten_at: float | None = None
        self._unknown: dict[LeaseKey, int] = {}
        self._thread = threading.Thread(target=self._loop, name=f"{services.worker}-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin. The first beat has been made by then."""
        self._thread.start()

    def stop(self) -> None:
        """End; leases that are still held run out."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(5.0)

    @property
    def has_died(self) -> bool:
        """Whether its thread ran, and does not any more."""
        return self._thread.ident is not None and not self._thread.is_alive()

    @property
    def beaten_at(self) -> float | None:
        """When the database last took a heartbeat; monotonic, None: never."""
        return self._beaten_at

    def beat(self) -> None:
        """Renew all leases and compare what the database believes with what is held here."""
        before = self._held.snapshot()
        options, clock = self._options, self._services.clock
        self.last_report = self._report()
        asked_at, sent_at = clock.now(), clock.monotonic()
        renewal = self._queue.heartbeat(
            WorkerHeartbeat(
                self._services.worker, self._code_version, options.queues, options.concurrency, len(self._running),
                options.lease_seconds, self.last_report,
            )
        )  # fmt: skip
        self._beaten_at = sent_at  # leases run from then on at the earliest: a slow answer must not make the next late
        answered_at = clock.now()
        believed = {(lease.job_id, lease.attempt): lease for lease in renewal.leases}
        self._tell_cancelled(believed)
        self._give_up_missing(before, believed)
        self._give_back_unknown(believed)
        self._skew.learn(asked_at, renewal.database_now, answered_at)

    def _loop(self) -> None:
        while not self._stop.wait(self.pause_seconds()):
            if not self._due():
                continue
            asked = self._trouble.asking
            try:
                self.beat()
                self._trouble.over(asked)
            except (LedgerBusy, LedgerUnavailable) as error:
                self._stop.wait(min(1.0, self._trouble.pause(error)))
            except Exception as error:  # noqa: BLE001 - leases are kept alive whatever happens
                self._trouble.error("worker.heartbeat_failed", error)
                self._stop.wait(self._options.cancel_poll_seconds)

    def pause_seconds(self) -> float:
        """How long to wait before looking again whether to renew: never beyond the time for it."""
        return max(0.0, min(self._options.cancel_poll_seconds, self._renewal_due_seconds()))

    def _renewal_due_seconds(self) -> float:
        if self._beaten_at is None:
            return 0.0
        return self._beaten_at + self._options.renewal_seconds - self._services.clock.monotonic()

    def _due(self) -> bool:
        if self._renewal_due_seconds() <= 0:
            return True
        now = self._services.clock.monotonic()
        long_ago = now - self._options.cancel_poll_seconds / 2
        return any(attempt.begun_at < long_ago for attempt in list(self._running.values()))

    def _tell_cancelled(self, believed: dict[LeaseKey, HeldLease]) -> None:
        for key, lease in believed.items():
            if lease.cancel_requested:
                attempt = self._held.get(key)
                if attempt is not None:
                    attempt.request_cancel()

    def _give_up_missing(self, before: dict[LeaseKey, Attempt], believed: dict[LeaseKey, HeldLease]) -> None:
        """What was held before the database answered, and is not in its answer, is somebody else's by now. Where the
        ending is on its way to the ledger, the answer to that tells."""
        for key, attempt in before.items():
            if key not in believed and not attempt.ended and self._held.get(key) is attempt:
                attempt.lost = True

    def _give_back_unknown(self, believed: dict[LeaseKey, HeldLease]) -> None:
        """A lease nobody here knows comes from a claim whose answer was lost: but a claim under way, or an ending
        just recorded, looks the same at first. So it is given back when it is seen again after all claims that had
        begun when it was first seen have ended."""
        claims_begun = self._held.claims_begun  # read after the answer: the claim of each lease in it began before
        claims_ended = self._held.claims_ended  # read before looking what is held: what they brought is held by then
        seen: dict[LeaseKey, int] = {}
        for key, lease in believed.items():
            if self._held.get(key) is not None:
                continue
            first_seen_claims = self._unknown.get(key)
            if first_seen_claims is None or claims_ended < first_seen_claims:
                seen[key] = claims_begun if first_seen_claims is None else first_seen_claims
            else:
                self._give_back(lease)
        self._unknown = seen

    def _give_back(self, lease: HeldLease) -> None:
        job = self._queue.open_jobs(lease.tenant, [lease.job_id]).get(lease.job_id)
        change = None if job is None else self._interruption(job, Lease(self._services.worker, lease.attempt))
        if change is None or job is None:
            return
        try:
            self._services.writer.write([change])
        except JobledgerError as error:
            say("warning", "worker.give_back_failed", job_id=str(lease.job_id), error=str(error))
            return
        say("warning", "worker.unknown_lease_given_back", tenant=lease.tenant, job_id=str(lease.job_id))
        self._open_again(job.state.queue)

    def _interruption(self, job: OpenJob, lease: Lease) -> ChangeJob | None:
        try:
            decision = jobs.interrupt(job.state, lease, why="the answer to its claim was lost")
        except LeaseLost:
            return None
        return changed_by(decision, job, self._services.metadata(job), lease=lease)
