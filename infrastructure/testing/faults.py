"""What a test makes go wrong: handlers that raise, and workers that die at the worst moment."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from inspect import isawaitable
from typing import NamedTuple
from uuid import UUID

from jobledger.application.declared_job import DeclaredJob
from jobledger.application.dispatch_item import Dispatch
from jobledger.application.job_context import JobContext
from jobledger.application.ports import LedgerWriter
from jobledger.application.worker.attempt import ChildDispatch
from jobledger.application.writes import ChangeJob, Outcome, Write
from jobledger.domain.job import JobFacts, JobStepRecorded


class WorkerDied(BaseException):
    """Stands for the end of a worker's process: it passes through handlers that catch every Exception."""


class _Death(NamedTuple):
    job_type: str
    step: str | None


class Faults:
    """What is to go wrong next, by job type. Each plan is carried out once."""

    def __init__(self) -> None:
        self._errors: dict[str, deque[BaseException]] = {}
        self._deaths: list[_Death] = []
        self.interruption: BaseException | None = None
        """What ended the test itself while a handler ran: Ctrl-C, or `pytest.fail` and its like."""

    def fail(self, job_type: str, error: BaseException, times: int) -> None:
        """Let the next attempts of a type raise this instead of running."""
        self._errors.setdefault(job_type, deque()).extend([error] * times)

    def crash(self, job_type: str, step: str | None) -> None:
        """Let the next worker that records this step of the type (or, without one, an ending) die before it does."""
        self._deaths.append(_Death(job_type, step))

    @property
    def unused(self) -> list[str]:
        """Plans that nothing came of yet, for messages."""
        errors = [f"fail_next({name!r}, {error!r})" for name, queue in self._errors.items() for error in queue]
        return errors + [f"crash_next({death.job_type!r}, after_step={death.step!r})" for death in self._deaths]

    def around(self, jobs: Mapping[str, DeclaredJob]) -> dict[str, DeclaredJob]:
        """The same job types, with handlers that these plans can strike."""
        return {name: replace(job, handler=self._struck(name, job)) for name, job in jobs.items()}

    def is_fatal(self, write: Write) -> bool:
        """Whether a worker that hands this write in dies of it."""
        if not isinstance(write, ChangeJob):
            return False
        for facts in (event.facts for event in write.events):
            if isinstance(facts, JobFacts):
                step = facts.step if isinstance(facts, JobStepRecorded) else None
                death = _Death(facts.job_type, step)
                if death in self._deaths and (step is not None or write.change is not None):
                    self._deaths.remove(death)
                    return True
        return False

    def _struck(self, name: str, declared: DeclaredJob) -> Callable[[JobContext, object], object]:
        async def waited_for(answer: Awaitable[object]) -> object:
            try:
                return await answer
            except BaseException as error:
                self._note(error)
                raise

        def run(context: JobContext, payload: object) -> object:
            errors = self._errors.get(name)
            if errors:
                raise errors.popleft()
            try:
                answer = declared.handler(context, payload)
            except BaseException as error:
                self._note(error)
                raise
            return waited_for(answer) if isawaitable(answer) else answer

        return run

    def _note(self, error: BaseException) -> None:
        """A worker survives whatever a handler raises; what is meant for the test has to reach it nevertheless."""
        if isinstance(error, KeyboardInterrupt) or any(
            kind.__module__ == "_pytest.outcomes" for kind in type(error).__mro__
        ):
            self.interruption = error


class MortalWriter:
    """The `LedgerWriter` of one worker. Once the worker has died nothing of it reaches the ledger."""

    def __init__(self, writer: LedgerWriter, faults: Faults) -> None:
        self._writer = writer
        self._faults = faults
        self.is_dead = False

    def submit(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
        """Hand writes in, or die."""
        self.check(writes)
        return self._writer.submit(writes)

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        """`submit(...).result()`."""
        self.check(writes)
        return self._writer.write(writes)

    def add_listener(self, listener: Callable[[Sequence[Write], Sequence[Outcome]], None]) -> None:
        """As the writer behind it."""
        self._writer.add_listener(listener)

    def dispatching(self, dispatch_children: ChildDispatch) -> ChildDispatch:
        """Children's dispatch by the same worker: a dead one dispatches nothing."""

        def dispatch(children: Sequence[Dispatch]) -> Sequence[UUID]:
            self.check(())
            return dispatch_children(children)

        return dispatch

    def check(self, writes: Sequence[Write]) -> None:
        """Raise `WorkerDied` if the worker is dead, or dies of these writes."""
        if self.is_dead or any(self._faults.is_fatal(write) for write in writes):
            self.is_dead = True
            raise WorkerDied
