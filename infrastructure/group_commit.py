"""Group commit: many callers' writes in one durable transaction, on any engine.

Callers hand in writes and wait on a future; one thread takes what is there, as much as the limits allow, and gives it
to the engine as one transaction. There is no delay: the next group gathers while the one before is being made
durable. Trouble stays with its owner:

- a conflict is an outcome of its own write;
- a write that somebody else's transaction blocks is *deferred* by the engine and tried again in a flush of its own;
- a group that fails as a whole (a lock timeout, a value the database refuses) is halved until the culprit is alone;
- where the database does not answer, a bounded number of retries, then `LedgerUnavailable`, nothing acknowledged.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Condition, Lock, Thread
from typing import NamedTuple

import structlog

from jobledger.application.writes import ChangeJob, NewJob, Outcome, Write, WriteStatus
from jobledger.domain.errors import JobledgerError, LedgerBusy, LedgerError, LedgerRestored, LedgerUnavailable

from .group_engine import DEFERRED, Answer, Deferral, Engine, GroupBlocked, Limits

__all__ = ["DEFERRED", "Answer", "Deferral", "Engine", "GroupBlocked", "GroupCommit", "Limits", "Listener"]

_log = structlog.get_logger(__name__)

Listener = Callable[[Sequence[Write], Sequence[Outcome]], None]


class _Submission:
    """What one call of `submit` handed in: one future for all of it."""

    __slots__ = ("answers", "future", "size", "writes")

    def __init__(self, writes: Sequence[Write]) -> None:
        self.writes = writes
        self.future: Future[list[Outcome]] = Future()
        self.size = sum(map(_size, writes))
        self.answers: list[Answer] = []


class _Part(NamedTuple):
    """Writes of a submission that still wait for an answer: all (None), or those of these indexes."""

    submission: _Submission
    indexes: tuple[int, ...] | None = None

    @property
    def writes(self) -> Sequence[Write]:
        if self.indexes is None:
            return self.submission.writes
        return [self.submission.writes[index] for index in self.indexes]


class _Deferred(NamedTuple):
    """A part that is tried again at `due_at`, the last time at `give_up_at` (monotonic seconds)."""

    due_at: float
    give_up_at: float
    delay_seconds: float
    part: _Part


class GroupCommit:
    """The `LedgerWriter` of a process, over an engine. Safe to use from any thread; to be closed."""

    def __init__(
        self, engine: Engine, limits: Limits | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._limits = limits or Limits()
        self._monotonic = monotonic
        self._listeners: list[Listener] = []
        self._buffer: deque[_Submission] = deque()
        self._buffered_writes = 0
        self._deferred: list[_Deferred] = []
        lock = Lock()
        self._changed = Condition(lock)
        """The flusher waits on it for work; its lock guards the buffer and `_closed`."""
        self._room = Condition(lock)
        self._closed = False
        self._flusher = Thread(target=self._run, name="jobledger-group-commit", daemon=True)
        self._flusher.start()

    # --- what callers use --------------------------------------------------------------------------------------------

    def submit(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
        """Hand writes in; see `LedgerWriter`. The writes of one call share one transaction."""
        return self._submit(writes, self._limits.wait_seconds)

    def submit_at_once(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
        """See `AtOnceWriter`."""
        return self._submit(writes, 0.0)

    def _submit(self, writes: Sequence[Write], wait_seconds: float) -> Future[list[Outcome]]:
        submission = _Submission(writes)
        if not writes:
            submission.future.set_result([])
            return submission.future
        with self._changed:
            self._wait_for_room(len(writes), wait_seconds)
            self._buffer.append(submission)
            self._buffered_writes += len(writes)
            self._changed.notify()
        return submission.future

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        """`submit(...).result()`."""
        return self.submit(writes).result()

    @property
    def waiting(self) -> int:
        """Writes that were handed in and are not being written yet."""
        return self._buffered_writes

    @property
    def has_died(self) -> bool:
        """Whether its thread ended by itself: then nothing is written any more."""
        return not self._closed and not self._flusher.is_alive()

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` after each durable commit, on the flushing thread."""
        self._listeners.append(listener)

    def announce(self, writes: Sequence[Write], outcomes: Sequence[Outcome]) -> None:
        """Tell the listeners of what was committed past this group commit."""
        self._tell(writes, outcomes)

    def close(self) -> None:
        """Take nothing more, flush what is there, and close the engine."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify()
            self._room.notify_all()
        self._flusher.join()
        self._engine.close()

    def _wait_for_room(self, count: int, wait_seconds: float) -> None:
        """What is larger than the whole buffer goes in when the buffer is empty."""

        def has_room() -> bool:
            return self._closed or not self._buffer or self._buffered_writes + count <= self._limits.buffer_writes

        if not has_room() and not self._room.wait_for(has_room, wait_seconds):
            raise LedgerBusy(
                f"{self._buffered_writes} writes wait for the ledger", rule="the buffer is full", hint="try again"
            )
        if self._closed:
            raise LedgerUnavailable("the ledger was closed")

    # --- the flushing thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            group = self._next_group()
            if group:
                self._flush_safely([_Part(submission) for submission in group])
            elif self._closed:
                break
            self._retry_deferred(last_time=False)
        self._retry_deferred(last_time=True)

    def _flush_safely(self, parts: list[_Part], deferred: Sequence[_Deferred] = ()) -> None:
        """Whatever goes wrong, nobody waits for ever: an engine that breaks its contract is told to its callers."""
        try:
            self._flush(parts, deferred)
        except BaseException as error:  # noqa: BLE001 - see above
            _say_exception("ledger.flusher_failed")
            for part in parts:
                if not part.submission.future.done():
                    self._fail(part, error)

    def _next_group(self) -> list[_Submission]:
        """What is there, within the limits; nothing when it is time for the deferred ones, or when closed."""
        with self._changed:
            while not self._buffer and not self._closed:
                wait_seconds = self._seconds_to_next_retry()
                if wait_seconds is not None and wait_seconds <= 0:
                    return []
                self._changed.wait(wait_seconds)
            return self._take()

    def _take(self) -> list[_Submission]:
        taken: list[_Submission] = []
        writes = size = 0
        while self._buffer:
            following = self._buffer[0]
            writes += len(following.writes)
            size += following.size
            if taken and (writes > self._limits.max_writes or size > self._limits.max_bytes):
                break
            self._buffer.popleft()
            self._buffered_writes -= len(following.writes)
            if following.future.set_running_or_notify_cancel():
                taken.append(following)
        self._room.notify_all()
        return taken

    def _flush(self, parts: list[_Part], deferred: Sequence[_Deferred] = ()) -> None:
        """One transaction for these parts; `deferred` says what is known of them from earlier flushes."""
        writes: Sequence[Write] = parts[0].writes
        if len(parts) > 1:
            writes = [write for part in parts for write in part.writes]
        try:
            answers = self._attempt(writes)
        except GroupBlocked:
            if len(parts) == 1:
                self._settle(parts, [DEFERRED] * len(writes), deferred)
            else:
                self._flush_halves(parts, deferred)
        except (LedgerUnavailable, LedgerBusy, LedgerRestored) as error:
            for part in parts:
                self._fail(part, error)
        except Exception as error:  # noqa: BLE001 - what one caller's write raises must not hit the others, nor end us
            if len(parts) == 1:
                self._fail(parts[0], error)
            else:
                self._flush_halves(parts, deferred)
        else:
            if len(answers) != len(writes):
                raise LedgerError(f"the engine answered {len(answers)} of {len(writes)} writes")
            self._settle(parts, answers, deferred)
            self._tell(writes, answers)

    def _flush_halves(self, parts: list[_Part], deferred: Sequence[_Deferred]) -> None:
        middle = len(parts) // 2
        self._flush(parts[:middle], deferred[:middle])
        self._flush(parts[middle:], deferred[middle:])

    def _attempt(self, writes: Sequence[Write]) -> list[Answer]:
        for wait_seconds in self._limits.retry_seconds:
            try:
                return self._engine.flush(writes)
            except LedgerUnavailable as error:
                with suppress(Exception):  # see _say_exception
                    _log.warning("ledger.flush_failed", error=str(error), retry_in_seconds=wait_seconds)
            time.sleep(wait_seconds)
        return self._engine.flush(writes)

    def _settle(self, parts: list[_Part], answers: list[Answer], deferred: Sequence[_Deferred]) -> None:
        begin = 0
        for number, part in enumerate(parts):
            submission, indexes = part
            end = begin + (len(submission.writes) if indexes is None else len(indexes))
            chunk = answers if begin == 0 and end == len(answers) else answers[begin:end]
            begin = end
            if indexes is None:
                submission.answers = chunk
            else:
                for index, answer in zip(indexes, chunk, strict=True):
                    submission.answers[index] = answer
            waiting = tuple(index for index, answer in enumerate(submission.answers) if answer is DEFERRED)
            if waiting:
                self._defer(_Part(submission, waiting), deferred[number] if deferred else None)
            else:
                submission.future.set_result(submission.answers)  # type: ignore[arg-type]  # no DEFERRED is left

    def _tell(self, writes: Sequence[Write], answers: Sequence[Answer]) -> None:
        if not self._listeners:
            return
        told = [(write, answer) for write, answer in zip(writes, answers, strict=True) if answer is not DEFERRED]
        stored, outcomes = [write for write, _ in told], [answer for _, answer in told]
        for listener in self._listeners if told else ():
            try:
                listener(stored, outcomes)
            except BaseException:  # noqa: BLE001 - a listener never breaks the flusher: not by sys.exit() either
                _say_exception("ledger.listener_failed")

    # --- deferred writes ---------------------------------------------------------------------------------------------

    def _defer(self, part: _Part, before: _Deferred | None) -> None:
        now = self._monotonic()
        if before is None:
            again = _Deferred(now + 0.005, now + self._limits.deferred_seconds, 0.005, part)
        else:
            delay = min(before.delay_seconds * 2, 0.5)
            again = _Deferred(now + delay, before.give_up_at, delay, part)
        if now >= again.give_up_at or self._closed:
            self._fail(part, LedgerBusy("another transaction holds the job or the key", hint="try again"))
        else:
            self._deferred.append(again)

    def _seconds_to_next_retry(self) -> float | None:
        if not self._deferred:
            return None
        return min(deferred.due_at for deferred in self._deferred) - self._monotonic()

    def _retry_deferred(self, *, last_time: bool) -> None:
        if not self._deferred:
            return
        now = self._monotonic()
        due: list[_Deferred] = []
        later: list[_Deferred] = []
        for deferred in self._deferred:
            (due if last_time or deferred.due_at <= now else later).append(deferred)
        self._deferred = later
        if due:
            self._flush_safely([deferred.part for deferred in due], due)

    def _fail(self, part: _Part, error: BaseException) -> None:
        """The error, where nothing of the submission was stored; else its caller learns which writes were not."""
        submission = part.submission
        if any(answer is not DEFERRED and answer.status is WriteStatus.WRITTEN for answer in submission.answers):
            busy = Outcome(WriteStatus.BUSY)
            submission.future.set_result([busy if answer is DEFERRED else answer for answer in submission.answers])
            return
        if not isinstance(error, JobledgerError):
            cause, error = error, LedgerError(f"the ledger could not store a write: {error}")
            error.__cause__ = cause
        submission.future.set_exception(error)


def _say_exception(event: str) -> None:
    """Somebody may have closed the stream that we log to: that ends no flusher."""
    with suppress(Exception):
        _log.exception(event)


def _size(write: Write) -> int:
    """About the bytes it takes in a transaction."""
    if isinstance(write, NewJob):
        return 800 + len(write.event.body or b"")
    body_bytes = sum(len(event.body or b"") for event in write.events)
    replaced = write.change.payload if isinstance(write, ChangeJob) and write.change is not None else None
    return 600 * len(write.events) + body_bytes + len(replaced or b"")
