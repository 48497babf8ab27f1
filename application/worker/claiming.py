"""When to claim, how many, and what to wait for in between.

A worker claims ahead at most what it will begin within about a second, judged by how long its jobs took lately. It
wakes on hints, and polls where none come; a delayed job starts on time because the worker asks when the next is due.

Nobody waits behind another tenant's backlog: what was claimed runs in turns, and while much of it waits here, jobs of
tenants that have nothing waiting are let in (`look_aside`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence

from jobledger.domain.errors import LedgerBusy, LedgerError, LedgerUnavailable

from ..declared_job import DeclaredJob
from ..ports import Claim, ClaimRequest, Clock, Queue, WakeUp
from ..transitions import TransitionLog
from .attempt import Attempt
from .execution import Slots
from .held import Held
from .options import WorkerOptions
from .pace import Pace
from .process_lane import ProcessLane
from .rate_window import RateWindow
from .seclusion import Seclusion
from .trouble import FATAL, Trouble

LONG_CLAIM_SECONDS = 0.005
"""A claim under way for so long is a large one: who comes now should not wait for the one after it."""
UNEXPECTED_MAX = 5
"""So many errors in a row that no ledger in good order gives end the worker."""
_VAIN_SECONDS = 0.02
_BACK_PRESSURE_SECONDS = 0.02


class Claimer:
    """The claiming side of a worker: one call of `look` is one look at the queue, or one wait."""

    def __init__(
        self, *, worker: str, code_version: str, jobs: dict[str, DeclaredJob], options: WorkerOptions, queue: Queue,
        wake_up: WakeUp, clock: Clock, slots: Slots, pace: Pace, held: Held, trouble: Trouble,
        unsettled: Callable[[], int], inactive: Callable[[], None], lane: ProcessLane | None = None,
    ) -> None:  # fmt: skip
        """`inactive` is called when tenants that may not run jobs have some waiting."""
        self._request = ClaimRequest(
            worker, options.queues, tuple(jobs), 0, code_version, options.lease_seconds, clock.now(),
            options.tenants, options.personas,
        )  # fmt: skip
        self._jobs = jobs
        self._options = options
        self._queue = queue
        self._wake_up = wake_up
        self._clock = clock
        self._slots = slots
        self._pace = pace
        self._held = held
        self._trouble = trouble
        self._unsettled = unsettled
        self._inactive = inactive
        self._lane = lane
        self._transitions = TransitionLog()
        self._seclusion = Seclusion(held, slots)
        self._rate = None if options.rate is None else RateWindow(options.rate)
        self._again_at: float | None = None
        """When a rate allows the next job; monotonic."""
        self._claiming_since: float | None = None
        self._served: frozenset[str] = frozenset()
        """Tenants with many jobs in the last claim: they have many in the one that is under way, too."""
        self._vain = 0
        self._unexpected = 0
        self.found_nothing = False
        """Whether the last look found nothing at all to claim."""

    def look(self) -> bool:
        """Claim what there is room for; True if that brought jobs."""
        self.found_nothing = False
        if self._seclusion.is_on(self._options.poll_seconds):
            return False
        if self._unsettled() > 4 * self._options.fetch_size:
            threading.Event().wait(_BACK_PRESSURE_SECONDS)
            return False
        if self._rate is not None and (pause_seconds := self._rate.wait_seconds(self._clock.monotonic())):
            self._wake_up.wait(min(pause_seconds, self._options.poll_seconds))
            return False
        if self._slots.has_left_over and not self._begin_left_over():
            return False
        room = self._room()
        if room <= 0:
            self._slots.below_low_mark.wait(self._options.poll_seconds)
            return False
        if self._lane is None:
            return self._take(self._request.job_types, room)
        brought = [self._take(*share) for share in self._lane.shares(room) if not self._seclusion.has_begun]
        self.found_nothing &= not any(brought)
        return any(brought)

    def _begin_left_over(self) -> bool:
        try:
            self._slots.offer(())
        except Exception as error:  # noqa: BLE001 - see _bear
            self._bear(error)
            return False
        self._unexpected = 0
        return True

    def _take(self, job_types: tuple[str, ...], room: int) -> bool:
        """Claim up to so many jobs and have them run; True if there were any."""
        if room > self._options.concurrency:  # a claim of few does not take long
            self._claiming_since = self._clock.monotonic()
        asked = self._trouble.asking
        try:
            claim = self._claim(job_types, room)
        except Exception as error:  # noqa: BLE001 - see _bear
            self._bear(error)
            return False
        finally:
            self._claiming_since = None
        self._unexpected = 0
        self._again_at = None if claim.again_seconds is None else self._clock.monotonic() + claim.again_seconds
        self._trouble.over(asked)
        self.found_nothing = not claim.jobs
        counts = Counter([job.tenant for job in claim.jobs])
        self._served = frozenset([tenant for tenant, count in counts.items() if count > self._options.concurrency])
        if claim.jobs:
            self._vain = 0
        if claim.inactive_tenants:
            self._inactive()
        return bool(claim.jobs)

    @property
    def has_others_to_let_in(self) -> bool:
        """Whether so much waits here, or is just being claimed, that tenants who have nothing here should not wait for
        its end."""
        options, waiting = self._options, self._slots.waiting
        if self._seclusion.is_careful or waiting >= 2 * options.fetch_size or self._rate is not None:
            return False
        if options.tenants is not None and len(set(options.tenants)) == 1:
            return False
        since = self._claiming_since
        if waiting > 0 or since is None:
            return waiting > 0
        # only a claim that follows one full of somebody's jobs is of a backlog; another may be slow and take few
        return bool(self._served) and self._clock.monotonic() - since >= LONG_CLAIM_SECONDS

    def look_aside(self) -> bool:
        """Claim a few jobs of tenants that have nothing waiting here; True if there were any. Called on a thread of its
        own, beside `look`."""
        job_types = self._request.job_types if self._lane is None else self._lane.others
        with self._seclusion.gate:
            if not job_types or not self.has_others_to_let_in:
                return False
            others = self._slots.waiting_tenants
            if self._claiming_since is not None:  # the claim under way takes the best of theirs: priority holds
                others = tuple(self._served.union(others))
            if not others and self._claiming_since is None:  # what waited here has begun meanwhile
                return False
            return bool(self._claim(job_types, self._options.concurrency, others).jobs)

    def _claim(self, job_types: tuple[str, ...], room: int, except_tenants: tuple[str, ...] = ()) -> Claim:
        """Claim jobs, hold them and have them run. Where this raises, whether the claim took place is not known: the
        heartbeat gives back what it brought."""
        request = self._request._replace(
            job_types=job_types, limit=room, now=self._clock.now(), except_tenants=except_tenants,
            # a worker whose slots are never idle gets to jobs under a rate all the same
            at_once=max(self._slots.free, self._options.concurrency // 4, 1),
        )  # fmt: skip
        with self._held.claiming():
            claim = self._queue.claim(request)
            attempts = self._attempts_of(claim)
            self._held.add(attempts)
        if attempts:
            self._slots.offer(self._seclusion.admit(attempts))
            self._log_started(claim)
        return claim

    def _attempts_of(self, claim: Claim) -> list[Attempt]:
        now, worker = self._clock.monotonic(), self._request.worker
        attempts = [Attempt(job, self._jobs[job.state.job_type], worker, claimed_at=now) for job in claim.jobs]
        if claim.limited:
            for attempt in attempts:
                attempt.frees_others = True
        if self._rate is not None:
            self._rate.take(len(attempts), now)
        if self._lane is not None:
            self._lane.claimed(attempts)
        return attempts

    def _log_started(self, claim: Claim) -> None:
        try:
            self._transitions.started(claim.jobs, worker=self._request.worker)
        except Exception as error:  # noqa: BLE001 - say, a handler closed our stdout
            self._trouble.error("worker.logging_failed", error)

    def _room(self) -> int:
        """How many more to claim; 0 until enough were begun for a claim to be worth its cost."""
        options, slots = self._options, self._slots
        now = self._clock.monotonic()
        # under a rate of its own a worker claims nothing ahead: what it claims begins at once
        nothing_ahead = self._rate or self._seclusion.forbids_claiming_ahead
        ahead = 0 if nothing_ahead else self._pace.ahead(options.concurrency, options.fetch_size, now=now)
        slots.watch(ahead // 2)
        if slots.waiting > ahead // 2:
            return 0
        room = min(options.fetch_size, options.concurrency + ahead - slots.active)
        return room if self._rate is None else min(room, self._rate.room(now))

    def _bear(self, error: Exception) -> None:
        """Wait out a ledger that is away, however long. What nobody expects may pass a few times, then ends us: a
        worker that fails says more than one that tries for ever."""
        if isinstance(error, FATAL):
            raise error
        if not isinstance(error, (LedgerBusy, LedgerUnavailable)):
            self._unexpected += 1
            if self._unexpected >= UNEXPECTED_MAX:
                raise LedgerError(f"looking for jobs failed {UNEXPECTED_MAX} times in a row: {error!r}") from error
        self._wake_up.wait(self._trouble.pause(error))

    def wait(self) -> None:
        """Wait for a hint, for the next job that becomes due, or for the time to look anyway."""
        due_seconds = self.due_seconds()
        poll_seconds = self._options.poll_seconds
        if due_seconds == 0:
            # Something is ready, and not for us (a type we do not know, a key that is held) or only just now.
            due_seconds = min(poll_seconds, _VAIN_SECONDS * 2.0**self._vain)
            self._vain = min(self._vain + 1, 20)
        if self._again_at is not None:
            again_seconds = max(0.0, self._again_at - self._clock.monotonic())
            due_seconds = again_seconds if due_seconds is None else min(due_seconds, again_seconds)
        self._wake_up.wait(poll_seconds if due_seconds is None else min(poll_seconds, due_seconds))

    def due_seconds(self) -> float | None:
        """Seconds until the next job of our queues is due, 0 for now, None for never."""
        try:
            return self._queue.next_due_seconds(self._options.queues)
        except Exception as error:  # noqa: BLE001 - see _bear
            self._bear(error)
            return self._options.poll_seconds

    def wait_for_look_aside(self) -> None:
        """Wait until a look aside that is under way has ended, and what it brought is held."""
        self._seclusion.wait_for_others()

    def take_waiting(self) -> Sequence[Attempt]:
        """What was claimed and waits for its turn elsewhere than in the slots; it will not begin."""
        return self._seclusion.take_waiting()

    def may_go_on_within(self, seconds: float) -> bool:
        """Whether a rate that holds jobs back lets more start within so many seconds."""
        return self._again_at is not None and self._again_at - self._clock.monotonic() <= seconds

    @property
    def looked_in_vain(self) -> bool:
        """Whether what is ready was found not to be for us several times in a row."""
        return self._vain >= 3
