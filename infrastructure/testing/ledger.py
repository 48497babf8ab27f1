"""`InMemoryLedger`: a complete ledger for one test, with a worker that runs when the test says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Unpack

from jobledger.application.app import App, ReactsTo
from jobledger.application.client import Jobs, LedgerClient
from jobledger.application.commands import Receipt
from jobledger.application.dispatcher import Dispatcher
from jobledger.application.limit_messages import HoldKind
from jobledger.application.message import Actor
from jobledger.application.preparing import OptionDefaults
from jobledger.application.use_cases import use_cases
from jobledger.application.worker.children import dispatching
from jobledger.application.writes import ChangeJob, Outcome, Write
from jobledger.domain.job import JobCancelRequested, JobDispatched, JobStatus
from jobledger.domain.refusal import DispatchRefused

from ..memory import MemoryLedger, MemoryTransaction
from .assertions import JobAssertions, JobLike, Wanted
from .clock import FrozenClock, SeededIdentifiers
from .inline_work import InlineWork
from .redelivery import deliver_again, redeliveries
from .seen_job import SeenJob, SeenJobs, seen_job
from .stand_ins import Connect, GivenSecrets

_ALL = 2**31


class JobsInMemory(Jobs):
    """`ledger.jobs`: called, it finds jobs; its methods are those of `Ledger.jobs`."""

    def __init__(self, dispatcher: Dispatcher, actor: Actor, find: Callable[[Wanted], SeenJobs]) -> None:
        super().__init__(dispatcher, actor, None)
        self._find = find

    def __call__(self, **wanted: Unpack[Wanted]) -> SeenJobs:
        """The jobs that are meant, in the order of their dispatch: `ledger.jobs(type="invoice.send").only`."""
        return self._find(wanted)


class InMemoryLedger(JobAssertions, LedgerClient):
    """A ledger in memory with the methods of `jobledger.Ledger`, the app's types and a few tenants.

    Nothing runs until `drain` is called, and no time passes until `clock` is moved. There are no files and no threads,
    and nothing has to be closed. What is decided about jobs is decided by the code that runs in production.
    """

    jobs: JobsInMemory

    def __init__(
        self,
        app: App,
        *,
        tenants: Sequence[str] = ("acme",),
        clock: FrozenClock | None = None,
        seed: int = 0,
        defaults: OptionDefaults | None = None,
        secrets: Mapping[str, str | Mapping[str, str]] | None = None,
        connect: Connect | None = None,
    ) -> None:
        """`tenants` are created; `seed` gives ids and jitter, the same in every run; `defaults` are the options that
        an installation's settings would give. `secrets` are those of the vault, by name: a text for every tenant, or
        texts by tenant. `connect` makes a connection for each `context.transaction()`: it is committed with the job's
        completion. Raises the refusal of a job type that may not be published.
        """
        self.clock = clock or FrozenClock()
        self._memory = MemoryLedger(self.clock, SeededIdentifiers(self.clock, seed))
        dispatcher = use_cases(self._memory.ports, app=app, defaults=defaults)
        super().__init__(dispatcher, Actor(id=f"service:{app.name}"))
        self.jobs = JobsInMemory(dispatcher, self._actor, self._find)
        self._app = app
        self._work = InlineWork(
            app, self._memory, self.clock, dispatching(dispatcher, app), secrets=GivenSecrets(secrets or {}),
            connect=connect,
        )  # fmt: skip
        self._memory.writer.add_listener(self._committed)
        self._received: dict[tuple[str, str], tuple[Receipt, ...]] = {}
        for tenant in tenants:
            self.tenants.create(tenant)
        self.types.register(app)

    # --- making things happen ----------------------------------------------------------------------------------------

    def drain(self, *, until_idle: bool = False, queues: Sequence[str] | None = None) -> int:
        """Run every job that is due, in claim order, in the calling thread; how many attempts ran.

        Jobs that these dispatch run, too. What is due later (retries, delayed and snoozed jobs, a rate that holds jobs
        back, the lease of a worker that died) waits until the test moves `clock` and drains again; with `until_idle`
        the clock is moved to each such moment, until nothing is left that time would bring. `queues` default to all.
        """
        return self._work.drain(until_idle=until_idle, queues=None if queues is None else tuple(queues))

    def receive(self, event: ReactsTo) -> tuple[Receipt, ...]:
        """Dispatch what the app's reactions to an event ask for; a receipt each. Raises the first refusal.

        An event with a `source` and an `id` leads to that once, however often it is received: then the receipts are
        those of the first time, marked as duplicates.
        """
        identity = (str(getattr(event, "source", "")), str(getattr(event, "id", "")))
        if identity[1] and identity in self._received:
            return tuple(receipt._replace(duplicate=True) for receipt in self._received[identity])
        receipts = tuple(result.unwrap() for result in self.dispatch_many(self._app.reactions_to(event)))
        self._received[identity] = receipts
        return receipts

    @contextmanager
    def transaction(self) -> Iterator[MemoryTransaction]:
        """What stands for a connection of your own in `dispatch(..., connection=)`: jobs dispatched on it are there
        once the block has ended, or never if it raised."""
        transaction = self._memory.transaction()
        yield transaction
        transaction.commit()

    # --- making things go wrong --------------------------------------------------------------------------------------

    def fail_next(self, job_type: str, error: BaseException, *, times: int = 1) -> None:
        """The next `times` attempts of a type raise `error` instead of running their handler."""
        self._work.faults.fail(self._declared(job_type), error, times)

    def crash_next(self, job_type: str, *, after_step: str | None = None) -> None:
        """The worker of the next attempt of a type dies before the attempt's ending is recorded; with `after_step`
        between that step's effect and its record. Nothing that the attempt has not recorded by then will be.

        Its lease ends 30 seconds later; `drain(until_idle=True)` moves the clock there, and another worker takes over.
        """
        self._work.faults.crash(self._declared(job_type), after_step)

    # --- looking -----------------------------------------------------------------------------------------------------

    def events(self, job: JobLike) -> list[str]:
        """The names of a job's events, in order: `["job.dispatched", "job.started", "job.completed"]`."""
        return list(self._one(job).events)

    def assert_idempotent(self, job: JobLike, effects: Callable[[], object]) -> None:
        """Deliver a completed job again, and nothing more happens.

        It is delivered as after each death of a worker that could have led to that: once with all its steps recorded,
        and once for each of its steps with that step's record lost. `effects` looks at what the handler's doing left in
        the world (mails sent, charges made) and returns it as a plain value; it has to be the same before and after.
        Nor may there be new jobs. Nothing of this is recorded in the ledger.
        """
        __tracebackhide__ = True
        completed = self.assert_completed(job).only
        stream = self._memory.reader.stream(completed.tenant, completed.job_id, bodies=True)
        for redelivery in redeliveries(stream):
            before, jobs_before = deepcopy(effects()), self._seen()
            error = deliver_again(
                stream, redelivery, jobs=self._app.jobs, ports=self._work.ports(),
                dispatch_children=dispatching(self.dispatcher, self._app),
            )  # fmt: skip
            told = f"{completed.job_type} was {redelivery.name}, and "
            if error is not None:
                raise AssertionError(f"{told}failed: {error}")
            if (after := effects()) != before:
                raise AssertionError(f"{told}had effects\n  before: {before}\n  after:  {after}\n{redelivery.hint}")
            if new_jobs := self._seen()[len(jobs_before) :]:
                raise AssertionError(f"{told}dispatched jobs of another key than the first time:{new_jobs}")

    # --- what the assertions need ------------------------------------------------------------------------------------

    def _seen(self) -> SeenJobs:
        reader = self._memory.reader
        dispatched = reader.read_after(0, limit=_ALL, topics=frozenset({JobDispatched.topic})).events
        return SeenJobs(
            seen_job(reader.stream(event.tenant, event.originator_id, bodies=True)) for event in dispatched
        )  # fmt: skip

    def _refusals(self) -> list[str]:
        refused = self._memory.reader.read_after(0, limit=_ALL, topics=frozenset({DispatchRefused.topic})).events
        return [
            f"{event.facts.type_claimed} for {event.facts.tenant_claimed or 'no tenant'}: {event.facts.message}"
            for event in refused
            if isinstance(event.facts, DispatchRefused)
        ]

    def _why_not_run(self, job: SeenJob) -> str:
        if job.status is JobStatus.DELAYED:
            wait_seconds = (job.state.due_at - self.clock.now()).total_seconds()
            return f"due in {wait_seconds:g} s: move the clock, or drain(until_idle=True)" if wait_seconds > 0 else ""
        if job.status is JobStatus.PENDING:
            holds = self.jobs.explain(job.job_id, tenant=job.tenant).holds
            held = [hold.text for hold in holds if hold.kind not in (HoldKind.NO_WORKER, HoldKind.TURN)]
            return "; ".join(held) or "nothing holds it: was drain() called?"
        if job.status is JobStatus.IN_PROGRESS:
            return f"its worker, {job.state.worker}, died: its lease has to end, drain(until_idle=True) waits for it"
        return ""

    def _declared(self, job_type: str) -> str:
        return self._app.declared(job_type).definition.name

    def _committed(self, writes: Sequence[Write], outcomes: Sequence[Outcome]) -> None:
        """A request to cancel reaches a running handler at once."""
        del outcomes
        changes = (write for write in writes if isinstance(write, ChangeJob))
        if any(isinstance(event.facts, JobCancelRequested) for change in changes for event in change.events):
            self._work.look()
