"""Requests in, answers out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

import httpx

from jobledger.application.dispatcher import Dispatcher
from jobledger.application.message import Actor
from jobledger.application.ports import EventReader
from jobledger.domain.errors import JobledgerError

from ...api.problems import MEDIA_TYPE, Problem
from ...http.problem_documents import make_problem, no_such_route, problem_of
from . import dlq, events, jobs, leases, limiting, operating
from .asked import Asked, Reply

Route = Callable[[Asked], Reply]

_JOB = "tenants/{tenant}/jobs/{job_id}"
_ATTEMPT = f"{_JOB}/attempts/{{attempt}}"
ROUTES: Final[dict[str, Route]] = {
    "POST tenants/{tenant}/jobs": jobs.dispatch,
    "POST tenants/{tenant}/jobs/bulk": jobs.dispatch_many,
    "GET tenants/{tenant}/jobs": jobs.list_jobs,
    "GET tenants/{tenant}/personas/{persona}/jobs": jobs.list_jobs,
    f"GET {_JOB}": jobs.get,
    f"GET {_JOB}/history": jobs.history,
    f"GET {_JOB}/explanation": jobs.explain,
    f"GET {_JOB}/diff": jobs.diff,
    f"GET {_JOB}/causes": jobs.causes,
    "GET tenants/{tenant}/traces/{request}": jobs.trace,
    f"GET {_JOB}/result": jobs.result,
    f"POST {_JOB}/cancel": jobs.cancel,
    f"POST {_JOB}/reschedule": jobs.reschedule,
    f"POST {_JOB}/requeue": dlq.requeue_job,
    f"POST {_JOB}/discard": dlq.discard_job,
    f"GET {_JOB}/events": events.follow_job,
    "GET tenants/{tenant}/events": events.follow_jobs,
    "GET tenants/{tenant}/dlq": dlq.list_dead,
    "GET tenants/{tenant}/dlq/count": dlq.count,
    "POST tenants/{tenant}/dlq/requeue": dlq.requeue,
    "POST tenants/{tenant}/dlq/discard": dlq.discard,
    "GET tenants/{tenant}/operations/{operation_id}": dlq.operation,
    "GET tenants/{tenant}/dlq/acts": dlq.list_acts,
    "GET tenants/{tenant}/dlq/{job_id}": dlq.get_dead,
    "GET queues": limiting.list_queues,
    "POST queues/{queue}/pause": limiting.pause,
    "POST queues/{queue}/resume": limiting.resume,
    "POST tenants/{tenant}/personas/{persona}/pause": limiting.pause,
    "POST tenants/{tenant}/personas/{persona}/resume": limiting.resume,
    "POST tenants/{tenant}/limit-keys/{key}/pause": limiting.pause,
    "POST tenants/{tenant}/limit-keys/{key}/resume": limiting.resume,
    "GET limits": limiting.list_limits,
    "GET limits/{scope}/{name}": limiting.get_limits,
    "PUT limits/{scope}/{name}": limiting.set_limits,
    "DELETE limits/{scope}/{name}": limiting.remove_limits,
    "GET workers": leases.list_workers,
    "GET job-types": leases.list_job_types,
    "POST job-types": leases.register_job_types,
    "POST leases/claim": leases.claim,
    "POST leases/heartbeat": leases.renew,
    "POST leases/retire": leases.retire,
    f"POST {_ATTEMPT}/progress": leases.progress,
    f"POST {_ATTEMPT}/log": leases.log,
    f"POST {_ATTEMPT}/step": leases.step,
    f"POST {_ATTEMPT}/complete": leases.complete,
    f"POST {_ATTEMPT}/fail": leases.fail,
    f"POST {_ATTEMPT}/snooze": leases.snooze,
    f"POST {_ATTEMPT}/release": leases.release,
    "GET tenants": operating.list_tenants,
    "POST tenants": operating.create_tenant,
    "POST tenants/{tenant}/suspend": operating.suspend_tenant,
    "POST tenants/{tenant}/resume": operating.resume_tenant,
    "POST tenants/{tenant}/pause": limiting.pause,
    "POST tenants/{tenant}/unpause": limiting.resume,
    "GET tenants/{tenant}/statistics": operating.tenant_statistics,
    "GET statistics/queues": operating.queue_statistics,
}
"""What can be asked, as the OpenAPI document names it."""
NOT_DONE: Final = ("keys", "projections", "audit", "operations")
"""What begins so is a server's: there are no identities here, no views that are kept apart, nothing to hand over."""


def _pattern(route: str) -> re.Pattern[str]:
    method, _, path = route.partition(" ")
    return re.compile(f"{method} /v1/" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


_PATTERNS: Final = [(_pattern(route), answer) for route, answer in ROUTES.items()]


class FakeServer:
    """Answers requests from a ledger; each one has an id of its own."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        reader: EventReader,
        actor: Actor,
        *,
        work: Callable[[], object],
        pass_time: Callable[[float], object],
    ) -> None:
        """`work` runs what is due: asked for before a client is told that nothing comes. `pass_time` moves the clock so
        many seconds, while nobody works."""
        self._dispatcher = dispatcher
        self._work = work
        self._pass_time = pass_time
        self._reader = reader
        self._actor = actor
        self._requests = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """The answer to a request: what `httpx.MockTransport` asks for."""
        self._requests += 1
        request_id = f"request-{self._requests}"
        for pattern, route in _PATTERNS:
            if match := pattern.fullmatch(f"{request.method} {request.url.raw_path.decode().partition('?')[0]}"):
                place = {name: unquote(value) for name, value in match.groupdict().items()}
                asked = Asked(
                    self._dispatcher, self._reader, self._who(request, request_id), request, place, work=self._work,
                    pass_time=self._pass_time,
                )  # fmt: skip
                return self._reply(route, asked, request_id).response({"X-Request-Id": request_id})
        return _said(_missing(request, request_id)).response({"X-Request-Id": request_id})

    def _reply(self, route: Route, asked: Asked, request_id: str) -> Reply:
        try:
            return route(asked)
        except JobledgerError as error:
            problem = problem_of(error, request_id)
            problem.field = asked.told_place(problem.field)
            return _said(problem)

    def _who(self, request: httpx.Request, request_id: str) -> Actor:
        on_behalf_of = request.headers.get("Jobledger-On-Behalf-Of")
        return self._actor.model_copy(update={"on_behalf_of": on_behalf_of, "request_id": request_id})


def _missing(request: httpx.Request, request_id: str) -> Problem:
    """What is told of a route that the fake has not."""
    if request.url.path.removeprefix("/v1/").partition("/")[0] in NOT_DONE:
        return make_problem(
            "not_in_the_fake", 501, f"the fake of jobledger.testing does not do {request.method} {request.url.path}",
            rule=f"a server does: {', '.join(NOT_DONE)}", hint="test it against `jobledger serve`",
            request_id=request_id,
        )  # fmt: skip
    return no_such_route(request_id)


def _said(problem: Problem) -> Reply:
    return Reply(problem.model_dump(exclude_none=True), problem.status, media_type=MEDIA_TYPE)
