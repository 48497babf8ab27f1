"""The client for coroutines: what `threaded` is for threads."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine, Iterable
from copy import copy
from functools import wraps
from os import PathLike
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from ..api.jobs import DispatchRequest
from . import (
    auditing,
    connecting,
    dispatching,
    dlq,
    following,
    jobs,
    keys,
    leasing,
    limiting,
    operating,
    projecting,
)
from .core import Core
from .dispatching import ItemResult
from .driving import AsyncDriver
from .exchange import Emits, Flow

P = ParamSpec("P")
T = TypeVar("T")


class AsyncPart:
    """A part of a client: asks with its core, through its driver."""

    def __init__(self, core: Core, driver: AsyncDriver) -> None:
        self._core = core
        self._driver = driver


def _runs(flow: Callable[Concatenate[Core, P], Flow[T]]) -> Callable[Concatenate[AsyncPart, P], Coroutine[Any, Any, T]]:
    """A method that returns what a flow comes to."""

    @wraps(flow)
    async def method(part: AsyncPart, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await part._driver.run(flow(part._core, *args, **kwargs))

    return method


def _iterates(
    flow: Callable[Concatenate[Core, P], Emits[T]],
) -> Callable[Concatenate[AsyncPart, P], AsyncGenerator[T, None]]:
    """A method that returns an iterator over what a flow hands out."""

    @wraps(flow)
    def method(part: AsyncPart, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:
        return part._driver.iterate(flow(part._core, *args, **kwargs))

    return method


class AsyncJobs(AsyncPart):
    """`client.jobs`."""

    get = _runs(jobs.get)
    list = _iterates(jobs.list_jobs)
    history = _iterates(jobs.history)
    explain = _runs(jobs.explain)
    diff = _runs(jobs.diff)
    causes = _runs(jobs.causes)
    trace = _runs(jobs.trace)
    result = _runs(jobs.result)
    cancel = _runs(jobs.cancel)
    reschedule = _runs(jobs.reschedule)
    requeue = _runs(jobs.requeue)
    discard = _runs(jobs.discard)
    events = _iterates(following.follow_job)


class AsyncDlq(AsyncPart):
    """`client.dlq`: single jobs are requeued and discarded with `client.jobs`, many at once here."""

    list = _iterates(dlq.list_dead)
    get = _runs(dlq.get_dead)
    count = _runs(dlq.count)
    acts = _runs(dlq.list_acts)
    requeue = _runs(dlq.requeue)
    discard = _runs(dlq.discard)


class AsyncOperations(AsyncPart):
    """`client.operations`: what takes longer than a request."""

    get = _runs(dlq.get_operation)
    wait = _runs(dlq.wait)


class AsyncQueues(AsyncPart):
    """`client.queues`."""

    list = _runs(limiting.list_queues)
    pause = _runs(limiting.pause_queue)
    resume = _runs(limiting.resume_queue)


class AsyncTenants(AsyncPart):
    """`client.tenants`."""

    list = _runs(operating.list_tenants)
    create = _runs(operating.create_tenant)
    suspend = _runs(operating.suspend_tenant)
    resume = _runs(operating.resume_tenant)
    pause = _runs(limiting.pause_tenant)
    unpause = _runs(limiting.unpause_tenant)


class AsyncPersonas(AsyncPart):
    """`client.personas`."""

    pause = _runs(limiting.pause_persona)
    resume = _runs(limiting.resume_persona)


class AsyncLimitKeys(AsyncPart):
    """`client.limit_keys`."""

    pause = _runs(limiting.pause_limit_key)
    resume = _runs(limiting.resume_limit_key)


class AsyncLimits(AsyncPart):
    """`client.limits`: of a queue, a tenant, a persona or a limit key (scope `key`)."""

    list = _runs(limiting.list_limits)
    get = _runs(limiting.get_limits)
    set = _runs(limiting.set_limits)
    remove = _runs(limiting.remove_limits)


class AsyncWorkers(AsyncPart):
    """`client.workers`: to look at. What workers say themselves is `client.leases`."""

    list = _runs(operating.list_workers)


class AsyncJobTypes(AsyncPart):
    """`client.job_types`."""

    list = _runs(operating.list_job_types)
    register = _runs(operating.register_job_types)


class AsyncLeases(AsyncPart):
    """`client.leases`: what a worker says."""

    claim = _runs(leasing.claim)
    heartbeat = _runs(leasing.heartbeat)
    progress = _runs(leasing.progress)
    log = _runs(leasing.log)
    step = _runs(leasing.step)
    complete = _runs(leasing.complete)
    fail = _runs(leasing.fail)
    snooze = _runs(leasing.snooze)
    release = _runs(leasing.release)
    retire = _runs(leasing.retire)


class AsyncKeys(AsyncPart):
    """`client.keys`."""

    list = _iterates(keys.list_keys)
    create = _runs(keys.create_key)
    rotate = _runs(keys.rotate_key)
    revoke = _runs(keys.revoke_key)


class AsyncProjections(AsyncPart):
    """`client.projections`: views, and the operations that make them anew."""

    list = _runs(projecting.list_projections)
    rebuild = _runs(projecting.rebuild)
    verify = _runs(projecting.verify)
    cancel = _runs(projecting.cancel_rebuild)
    drop_previous = _runs(projecting.drop_previous)
    operation = _runs(projecting.get_operation)
    wait = _runs(projecting.wait)


class AsyncAudit(AsyncPart):
    """`client.audit`."""

    events = _iterates(auditing.replay)
    export = _iterates(auditing.export)
    exported = _runs(auditing.get_export)
    actions = _iterates(auditing.list_actions)


class AsyncClient(AsyncPart):
    """A server, for the coroutines of one event loop. An asynchronous context manager that closes its connections."""

    def __init__(
        self,
        url: str | None = None,
        key: connecting.Key = None,
        *,
        uds: str | PathLike[str] | None = None,
        tenant: str | None = None,
        timeout_seconds: float = 30.0,
        deadline_seconds: float = 60.0,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """As those of `Client`; `http` is an httpx.AsyncClient of your own."""
        where = connecting.address(url, uds, is_connected=http is not None)
        self._http = http or httpx.AsyncClient(
            **connecting.httpx_options(where, timeout_seconds), transport=connecting.async_transport(where)
        )
        if http is not None:
            http.base_url = httpx.URL(where.base)
        core = Core(
            connecting.credential_of(key), timeout_seconds, deadline_seconds, time.monotonic, random.random, tenant
        )
        self._connect(core, AsyncDriver(self._http, asyncio.sleep), self._http.aclose)

    def _connect(self, core: Core, driver: AsyncDriver, close: Callable[[], Awaitable[None]]) -> None:
        super().__init__(core, driver)
        self._close = close
        self.jobs = AsyncJobs(core, driver)
        self.dlq = AsyncDlq(core, driver)
        self.operations = AsyncOperations(core, driver)
        self.queues = AsyncQueues(core, driver)
        self.tenants = AsyncTenants(core, driver)
        self.personas = AsyncPersonas(core, driver)
        self.limit_keys = AsyncLimitKeys(core, driver)
        self.limits = AsyncLimits(core, driver)
        self.workers = AsyncWorkers(core, driver)
        self.job_types = AsyncJobTypes(core, driver)
        self.leases = AsyncLeases(core, driver)
        self.keys = AsyncKeys(core, driver)
        self.projections = AsyncProjections(core, driver)
        self.audit = AsyncAudit(core, driver)

    dispatch = _runs(dispatching.dispatch)
    events = _iterates(following.follow)
    statistics = _runs(operating.statistics)
    queue_statistics = _runs(operating.queue_statistics)

    def dispatch_many(
        self, items: Iterable[DispatchRequest] | AsyncIterable[DispatchRequest], *, tenant: str | None = None
    ) -> AsyncGenerator[ItemResult, None]:
        """As `Client.dispatch_many`; the items may come from an asynchronous iterable, too."""
        return self._driver.iterate(dispatching.dispatch_many(self._core, tenant), items)

    def of(self, tenant: str) -> Self:
        """The same client for one tenant: `tenant=` may then be left out. Closing stays with the first."""
        return self._with(self._core.of(tenant))

    def on_behalf_of(self, name: str) -> Self:
        """The same client, its writes recorded as on behalf of somebody (who is not proved)."""
        return self._with(self._core.acting_for(name))

    def _with(self, core: Core) -> Self:
        other = copy(self)
        other._connect(core, self._driver, _nothing)
        return other

    async def close(self) -> None:
        """Let go of the connections."""
        await self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _nothing() -> None:
    """A client that another one closes."""
