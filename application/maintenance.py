"""What keeps the queue honest: stalled jobs, jobs of tenants that may not run, storage for the months to come (R3.5).

Every worker process tries every chore, and one does it (`Queue.turn`): there is no leader to lose. What two did at the
same time, because one of them had been frozen, one of them would do in vain (its guard fails).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import structlog

from jobledger.domain import job as jobs
from jobledger.domain.errors import InvalidInput, JobledgerError
from jobledger.domain.event import Event, Metadata
from jobledger.domain.job import Decision, Lease

from .ports import Clock, ExpiredLease, LedgerWriter, OpenJob, Queue, WakeUp
from .writes import ChangeJob, WriteStatus, queue_change

INTERVAL_SECONDS, INTERVAL_SECONDS_MIN, INTERVAL_SECONDS_MAX = 10.0, 1.0, 60.0
BATCH = 200
FORGOTTEN_AFTER_SECONDS = 86_400.0
"""How long a worker that ended without a goodbye is still shown."""
_ROUNDS_MAX = 50
"""Batches of one run: what is left waits for the next."""

_log = structlog.get_logger("jobledger.maintenance")

Stalled = Callable[[OpenJob, bool], None]
"""Hears of a job whose worker was not heard of, and whether that sent it to the DLQ."""


class Maintenance:
    """Runs the chores periodically, on a thread of its own, between `start` and `stop`."""

    def __init__(
        self,
        queue: Queue,
        writer: LedgerWriter,
        clock: Clock,
        *,
        actor: str,
        interval_seconds: float = INTERVAL_SECONDS,
        wake_up: WakeUp | None = None,
        stalled: Stalled | None = None,
        prepare_storage: Callable[[], None] | None = None,
    ) -> None:
        """`prepare_storage` makes sure that storage for the coming months exists, where an engine needs that."""
        if not INTERVAL_SECONDS_MIN <= interval_seconds <= INTERVAL_SECONDS_MAX:
            raise InvalidInput(
                f"{interval_seconds:g} seconds between two runs", field="maintenance_interval_seconds",
                rule=f"{INTERVAL_SECONDS_MIN:g} to {INTERVAL_SECONDS_MAX:g}",
            )  # fmt: skip
        self._queue = queue
        self._writer = writer
        self._clock = clock
        self._actor = actor
        self._interval_seconds = interval_seconds
        self._wake_up = wake_up
        self._stalled = stalled
        self._prepare_storage = prepare_storage
        self._chores = {
            "rescue-stalled": self._rescue_stalled, "reject-inactive": self._reject_inactive,
            "forget-workers": self._forget_workers, "apply-limits": self._apply_limits,
            "prepare-storage": self._prepare,
        }  # fmt: skip
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Run now and then periodically. Starting twice is harmless."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._loop, name="jobledger-maintenance", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End, after the run under way. May be started again."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join()

    @property
    def has_died(self) -> bool:
        """Whether its thread was started and ended by itself."""
        thread = self._thread
        return thread is not None and thread.ident is not None and not thread.is_alive()

    def run_once(self) -> int:
        """Do the chores now; how many jobs were changed. Each is done whatever becomes of the others; then the first
        error that one of them met is raised."""
        changed = 0
        errors: list[Exception] = []
        for name, chore in self._chores.items():
            try:
                with self._queue.turn(name) as is_ours:
                    changed += chore() if is_ours else 0
            except Exception as error:  # noqa: BLE001 - raised below
                errors.append(error)
        if errors:
            raise errors[0]
        return changed

    def _prepare(self) -> int:
        if self._prepare_storage is not None:
            self._prepare_storage()
        return 0

    def _forget_workers(self) -> int:
        self._queue.forget_workers(silent_seconds=FORGOTTEN_AFTER_SECONDS)
        return 0

    def _apply_limits(self) -> int:
        """What a change of a persona's limits could not bring in line at once: jobs dispatched while it was made."""
        for _ in range(_ROUNDS_MAX):
            if not self._queue.apply_limits() or self._stop.is_set():
                break
        return 0

    def _reject_inactive(self) -> int:
        return reject_inactive(self._queue, self._writer, self._clock, actor=self._actor)

    def _loop(self) -> None:
        while True:
            try:
                self.run_once()
            except JobledgerError as error:
                _log.warning("maintenance.failed", error=str(error))
            except Exception as error:  # noqa: BLE001 - the next run may succeed
                _log.error("maintenance.failed", error=repr(error))
            if self._stop.wait(self._interval_seconds):
                return

    def _rescue_stalled(self) -> int:
        changed = 0
        for _ in range(_ROUNDS_MAX):
            expired = self._queue.expired(limit=BATCH)
            rescued = self._rescue(expired)
            changed += rescued
            if len(expired) < BATCH or not rescued or self._stop.is_set():
                break
        return changed

    def _rescue(self, expired: Sequence[ExpiredLease]) -> int:
        pairs = [(lease.job, self._stall(lease)) for lease in expired]
        if not pairs:
            return 0
        outcomes = self._writer.write([change for _, change in pairs])
        rescued = [pair for pair, outcome in zip(pairs, outcomes, strict=True) if outcome.status is WriteStatus.WRITTEN]
        for job, change in rescued:
            if self._stalled is not None:
                self._stalled(job, len(change.events) > 1)
        if rescued and self._wake_up is not None:
            self._wake_up.notify(frozenset(job.state.queue for job, _ in rescued))
        return len(rescued)

    def _stall(self, expired: ExpiredLease) -> ChangeJob:
        job = expired.job
        assert job.state.worker is not None
        lease = Lease(job.state.worker, job.state.attempt)
        decision = jobs.stall(job.state, lease, last_seen_at=expired.last_seen_at)
        return changed_by(decision, job, _metadata(job, self._actor, self._clock), lease=lease)


def reject_inactive(queue: Queue, writer: LedgerWriter, clock: Clock, *, actor: str) -> int:
    """Send waiting jobs of suspended or unknown tenants to the DLQ; how many were sent (rule 1)."""
    rejected = 0
    for _ in range(_ROUNDS_MAX):
        waiting = queue.waiting_of_inactive_tenants(limit=BATCH)
        changes = [_rejection(job, _metadata(job, actor, clock)) for job in waiting]
        outcomes = writer.write(changes) if changes else []
        written = sum(outcome.status is WriteStatus.WRITTEN for outcome in outcomes)
        rejected += written
        if len(waiting) < BATCH or not written:
            break
    return rejected


def _rejection(job: OpenJob, metadata: Metadata) -> ChangeJob:
    decision = jobs.reject(
        job.state, reason="unrecoverable", error_type="TenantInactive",
        message=f"tenant {job.tenant!r} is suspended or unknown", fingerprint="tenant-inactive",
    )  # fmt: skip
    return changed_by(decision, job, metadata, expected_version=job.version)


def changed_by(
    decision: Decision, job: OpenJob, metadata: Metadata, *, lease: Lease | None = None,
    expected_version: int | None = None,
) -> ChangeJob:  # fmt: skip
    """The write that records a decision about an open job, under one of the two guards."""
    after = job.state
    for facts in decision:
        after = jobs.evolve(after, facts)
    events = tuple(Event(job.job_id, 0, job.tenant, metadata, facts) for facts in decision)
    return ChangeJob(
        job.job_id, job.tenant, events, queue_change(job.state, after), expected_version=expected_version, lease=lease,
        cancel_expected=None if lease is None else job.state.cancel_reason is not None,
    )  # fmt: skip


def _metadata(job: OpenJob, actor: str, clock: Clock) -> Metadata:
    return Metadata(correlation_id=job.correlation_id, trace_parent=job.trace_parent, actor=actor, time=clock.now())
