"""Runs handlers: functions in threads of their own, coroutines on one event loop, under one limit for all.

A slot is the right to run one handler. Whoever ends a job takes the next waiting one along with the slot, so that
short jobs follow each other on one thread without waking another.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Protocol

from .attempt import Attempt
from .forks import this_process
from .log import say
from .turns import Turns

Run = Callable[[Attempt], bool]
"""Runs an attempt's handler to its end; False if somebody else ended the attempt meanwhile
(its hard timeout passed): then its slot has gone on already."""


class Executor(Protocol):
    """A way to run handlers (threads, an event loop, child processes: see `process_lane.py`)."""

    def begin(self, attempt: Attempt) -> None:
        """Start an attempt that holds a slot. Never blocks. When its handler ended, the slot goes on."""
        ...

    def close(self) -> None:
        """Let idle threads end; running handlers are not waited for."""
        ...


class Releases(Protocol):
    """What passes slots on."""

    def release(self) -> Attempt | None:
        """A handler ended: the attempt that takes over its slot, if there is one."""
        ...


class Slots:
    """The concurrency limit, and the attempts that were claimed ahead of it."""

    def __init__(self, count: int, begin: Callable[[Attempt], None]) -> None:
        self._count = count
        self._free = count
        self._begin = begin
        self._waiting = Turns()
        self._lock = threading.Lock()
        self._low_mark = 0
        self.below_low_mark = threading.Event()
        """Set while so few attempts wait that claiming more makes sense."""

    def offer(self, attempts: Sequence[Attempt]) -> None:
        """Run these as slots become free: tenants in turn, each one's in this order. Where one cannot be begun (no
        thread can be started) this raises; what has not begun waits on."""
        with self._lock:
            self._waiting.extend(attempts)
            starting = [self._waiting.popleft() for _ in range(min(self._free, len(self._waiting)))]
            self._free -= len(starting)
        for index, attempt in enumerate(starting):
            try:
                self._begin(attempt)
            except BaseException:
                self._take_back(starting[index:])
                raise

    def _take_back(self, attempts: Sequence[Attempt]) -> None:
        with self._lock:
            self._free += len(attempts)
            self._waiting.extend(attempts)

    def release(self) -> Attempt | None:
        """A handler ended: the attempt that takes over its slot, or None when the slot is free again."""
        with self._lock:
            following = self._waiting.popleft() if self._waiting else None
            if following is None:
                self._free += 1
            if len(self._waiting) <= self._low_mark and not self.below_low_mark.is_set():
                self.below_low_mark.set()
            return following

    def pass_on(self) -> None:
        """`release` for those who cannot run the next attempt themselves."""
        following = self.release()
        if following is not None:
            try:
                self._begin(following)
            except BaseException:
                self._take_back((following,))
                raise

    def watch(self, low_mark: int) -> None:
        """Set `below_low_mark` as soon as no more than `low_mark` attempts wait."""
        with self._lock:
            self._low_mark = low_mark
            if len(self._waiting) > low_mark or (not self._waiting and self._free == 0):
                self.below_low_mark.clear()
            else:
                self.below_low_mark.set()

    def take_waiting(self) -> list[Attempt]:
        """All attempts that have not begun; they will not."""
        with self._lock:
            return self._waiting.take_all()

    @property
    def waiting(self) -> int:
        """Attempts without a slot."""
        return len(self._waiting)

    @property
    def has_left_over(self) -> bool:
        """Whether attempts wait though slots are free: they could not be begun."""
        return self._free > 0 and bool(self._waiting)

    @property
    def waiting_tenants(self) -> tuple[str, ...]:
        """The tenants of attempts without a slot."""
        with self._lock:
            return self._waiting.tenants

    @property
    def free(self) -> int:
        """Slots that nothing has or waits for."""
        return max(0, self._free)

    @property
    def active(self) -> int:
        """Attempts with a slot or waiting for one."""
        return self._count - self._free + len(self._waiting)


class ThreadExecutor:
    """Handlers that are functions. Threads are started as needed and are daemons: one that hangs in a handler can be
    left behind."""

    def __init__(
        self, run: Run, slots: Callable[[], Releases], hand_over: Callable[[Attempt], None], name: str, *,
        takes: Callable[[Attempt], bool] | None = None,
    ) -> None:  # fmt: skip
        """Attempts that it does not take are handed over, with their slot. By default it takes functions that need
        no process of their own."""
        self._run = run
        self._slots = slots
        self._hand_over = hand_over
        self._takes = takes or _runs_in_thread
        self._name = name
        self._inbox: SimpleQueue[Attempt | None] = SimpleQueue()
        self._idle = 0
        self._started = 0
        self._lock = threading.Lock()

    def begin(self, attempt: Attempt) -> None:
        """Give the attempt to an idle thread, or to a new one."""
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            else:
                self._started += 1
                threading.Thread(target=self._loop, name=f"{self._name}-{self._started}", daemon=True).start()
        self._inbox.put(attempt)

    def close(self) -> None:
        """Let idle threads end."""
        with self._lock:
            for _ in range(self._started):
                self._inbox.put(None)

    def _loop(self) -> None:
        release, run = self._slots().release, self._run
        attempt = self._inbox.get()
        while attempt is not None:
            following: Attempt | None = attempt
            while following is not None:
                if not run(following):
                    return  # its slot went on without this thread
                following = release()
                if following is not None and not self._takes(following):
                    self._hand_over(following)
                    following = None
            with self._lock:
                self._idle += 1
            attempt = self._inbox.get()


class AsyncExecutor:
    """Handlers that are coroutines, on one event loop in a thread of its own."""

    def __init__(self, run: Callable[[Attempt], Awaitable[bool]], slots: Callable[[], Slots], name: str) -> None:
        self._run = run
        self._slots = slots
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._tasks: dict[Attempt, asyncio.Task[None]] = {}

    def begin(self, attempt: Attempt) -> None:
        """Start the attempt's task."""
        self._running_loop().call_soon_threadsafe(self._start, attempt)

    def abandon(self, attempt: Attempt) -> None:
        """Cancel the attempt's task: its hard timeout passed."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel, attempt)

    def close(self) -> None:
        """Stop the event loop; tasks that still run are cancelled."""
        loop, self._loop = self._loop, None
        if loop is not None:
            with suppress(RuntimeError):  # it may have ended by itself just now
                loop.call_soon_threadsafe(self._stop, loop)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the loop until `close`. A task that a handler made leaves it with SystemExit or KeyboardInterrupt, and
        a handler may stop it: the other tasks go on."""
        asyncio.set_event_loop(loop)
        here = this_process()
        while self._loop is loop:
            try:
                loop.run_forever()
            except BaseException as error:  # noqa: BLE001 - see above
                here.end_copy(error)
                say("error", "worker.event_loop_left", error=repr(error))
            here.end_copy()
        loop.close()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._serve, args=(self._loop,), name=self._name, daemon=True).start()
            return self._loop

    def _start(self, attempt: Attempt) -> None:
        # A context of its own: what a handler leaves in context variables must not reach the next tenant.
        task = asyncio.get_running_loop().create_task(self._finish(attempt), context=contextvars.Context())
        self._tasks[attempt] = task
        task.add_done_callback(lambda _: self._tasks.pop(attempt, None))

    def _cancel(self, attempt: Attempt) -> None:
        task = self._tasks.get(attempt)
        if task is not None:
            task.cancel()

    async def _finish(self, attempt: Attempt) -> None:
        if await self._run(attempt):
            self._slots().pass_on()

    def _stop(self, loop: asyncio.AbstractEventLoop) -> None:
        for task in list(self._tasks.values()):
            task.cancel()
        loop.call_soon(loop.stop)


def _runs_in_thread(attempt: Attempt) -> bool:
    return not attempt.declared.is_async and not attempt.declared.in_process
