"""jobledger as its commands wire it: the client of a service, a worker, the projections, all of them in one process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread
from types import TracebackType
from typing import Self
from uuid import UUID

from jobledger import Actor, App, Dispatch
from jobledger.application.client import LedgerClient
from jobledger.application.dlq_client import DlqOptions
from jobledger.application.past_client import ListOptions
from jobledger.application.queries import History
from jobledger.application.worker import WorkerEvent, WorkerOptions
from jobledger.infrastructure import bootstrap, service
from jobledger.infrastructure.bootstrap import LedgerHandle
from jobledger.infrastructure.projecting import Hurrying, make_runner
from jobledger.infrastructure.service import Service
from jobledger.infrastructure.settings import load
from jobledger.infrastructure.shapes.history_pages import read_page
from jobledger.projections.catalogue import PROJECTIONS
from jobledger.projections.projection import Projection
from jobledger.projections.runner import Runner

from . import noop

_LOOK_SECONDS = 0.002


class _Opened:
    """An open ledger, closed at the end of a `with` block."""

    def __init__(self, url: str, app: App = noop.app) -> None:
        self._handle: LedgerHandle = bootstrap.open_ledger(load(database=url), app=app)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()


class Client(_Opened):
    """What a service that dispatches has, and what a benchmark asks beside."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._ledger = LedgerClient(self._handle.dispatcher, Actor(id=f"service:{noop.app.name}"))

    def prepare(self) -> None:
        """Create the tenants and publish the job types."""
        for tenant in noop.TENANTS:
            self._ledger.tenants.create(tenant)
        service.publish_types(self._handle, noop.app)

    def dispatch(self, item: Dispatch) -> None:
        """Dispatch one job; durable on return."""
        self._ledger.dispatch(
            item.job_type, item.payload, tenant=item.tenant, persona=item.persona, idempotency_key=item.idempotency_key
        )

    def dispatch_and_list(self, item: Dispatch) -> int:
        """Dispatch one job and read the first line of its tenant's list as of then; how many jobs of that id it has."""
        receipt = self._ledger.dispatch(item.job_type, item.payload, tenant=item.tenant, persona=item.persona)
        assert receipt.position is not None
        page = self._ledger.jobs.list(tenant=item.tenant, after=receipt.position, limit=1)
        return [row.job_id for row in page.rows].count(receipt.job_id)

    def list_page(self, tenant: str, persona: str | None, where: ListOptions) -> None:
        """Read a page of the jobs of a tenant, or of a persona of it."""
        self._ledger.jobs.list(tenant=tenant, persona=persona, **where)

    def dlq_page(self, tenant: str, where: DlqOptions) -> None:
        """Read a page of the dead jobs of a tenant."""
        self._ledger.dlq.list(tenant=tenant, **where)

    def history_page(self, tenant: str, job_id: UUID, after: int, limit: int) -> int:
        """Read a page of what happened to a job; how many events it has."""
        return len(self._ledger.jobs.history(job_id, tenant=tenant, after_version=after, limit=limit).events)

    def history_lines(self, tenant: str, job_id: UUID, after: int, limit: int) -> int:
        """Read a page as the command line shows it, in which reports of progress are told in one line; how many
        lines it has."""

        def read(version: int, number: int) -> History:
            return self._ledger.jobs.history(job_id, tenant=tenant, after_version=version, limit=number)

        return len(read_page(read, after=after, limit=limit, fold=True).entries)

    @contextmanager
    def projecting(self) -> Iterator[None]:
        """Keep the lists in this process."""
        runner = make_runner(self._handle)
        runner.start()
        try:
            yield
        finally:
            runner.stop()

    def dispatch_many(self, items: Sequence[Dispatch]) -> None:
        """Dispatch all; durable on return. Raises the first refusal."""
        for result in self._ledger.dispatch_many(items):
            result.unwrap()

    def wait_for_lists(self, timeout_seconds: float) -> None:
        """Wait until every list has reached the last position."""
        head = self._handle.event_source.head()
        deadline = time.monotonic() + timeout_seconds
        while not self._lists_reached(head):
            if time.monotonic() > deadline:
                raise TimeoutError("the lists did not catch up")
            time.sleep(_LOOK_SECONDS)

    def _lists_reached(self, position: int) -> bool:
        checkpoints = self._handle.view_store.checkpoints()
        return all(name in checkpoints and checkpoints[name].position >= position for name in PROJECTIONS)

    @contextmanager
    def up(self) -> Iterator[None]:
        """Run worker, projections and maintenance in this process, as `jobledger up` does."""
        everything = Service(self._handle, noop.app, _options(self._handle))
        running = Thread(target=everything.run, name="up", daemon=True)
        running.start()
        try:
            yield
        finally:
            everything.request_stop()
            running.join()


class Working(_Opened):
    """`jobledger work --without-projections`."""

    def __init__(self, url: str, *, drain: bool, fetch_size: int | None) -> None:
        super().__init__(url)
        options = _options(self._handle, drain=drain, fetch_size=fetch_size)
        self._service = Service(self._handle, noop.app, options, projections=False)
        self._service.events.on("drained", self._note)
        self.idle_at = 0.0
        """The moment (`time.monotonic()`) when, the last time, nothing was left to do and all of it was durable."""

    def run(self) -> None:
        """Work until stopped or, with `drain`, until nothing is left."""
        service.tune_garbage_collector()  # as `jobledger work` does
        self._service.run()

    def stop(self) -> None:
        """End soon. May be called from any thread."""
        self._service.request_stop()

    def _note(self, event: WorkerEvent) -> None:
        self.idle_at = time.monotonic()


class Projecting(_Opened):
    """All projections, on a thread of their own."""

    def __enter__(self) -> Self:
        self._runner = make_runner(self._handle)
        self._runner.start()
        self._hurrying = Hurrying(self._handle, self._runner)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hurrying.stop()
        self._runner.stop()
        super().__exit__(kind, error, trace)


class Replay(_Opened):
    """Makes lists anew from the whole ledger."""

    def one(self) -> None:
        """The tenants' list alone."""
        self.these("tenant_jobs")

    def these(self, *names: str) -> None:
        """Some lists, from one scan."""
        self._replay(tuple(PROJECTIONS[name] for name in names))

    def all(self) -> None:
        """All lists from one scan, as the projections' process does."""
        self._replay(tuple(PROJECTIONS.values()))

    def _replay(self, projections: Sequence[Projection]) -> None:
        store = self._handle.view_store
        for projection in projections:
            with store.begin((projection,)) as transaction:
                assert transaction is not None
                transaction.reset(projection)
        runner = Runner(store, self._handle.event_source, projections)
        runner.run_until_current()
        runner.stop()


def _options(handle: LedgerHandle, *, drain: bool = False, fetch_size: int | None = None) -> WorkerOptions:
    options = service.worker_options(handle.settings, noop.app, drain=drain)
    return options if fetch_size is None else replace(options, fetch_size=fetch_size)
