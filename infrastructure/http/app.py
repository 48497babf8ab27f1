"""The HTTP application, put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from ..networks import as_seen
from . import problems
from .context import RequestContext
from .documented import DocumentedApi
from .first_route import FirstRoute
from .routes import (
    audit,
    bulk,
    dlq,
    health,
    job_details,
    jobs,
    keys,
    leases,
    lists,
    operations,
    projections,
    queues,
    statistics,
    streams,
    tenants,
    workers,
)
from .services import Services

DESCRIPTION = """\
Background jobs whose history is kept: every answer stands in the ledger before it is given.

Errors are problem documents (RFC 9457) with a stable `type`. `Jobledger-Position` says how far a write reached: given
as `after`, lists hold at least that. Dispatches with an `Idempotency-Key` can be sent again safely."""

ROUTERS = (
    jobs.dispatching, jobs.router, bulk.router, lists.router, job_details.router, streams.router,
    statistics.router, leases.router, tenants.router, health.router,
    queues.router, workers.router, keys.router, audit.router, dlq.router, operations.router,
    projections.router,
)  # fmt: skip


_NO_SPANS_OF_ITS_OWN: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False}
"""FastAPI's would stand beside ours (see `application/telemetry.py`), and hold whole addresses."""


def make_app(
    services: Services, *, body_bytes_max: int, version: str, trusted_proxies: Sequence[str] = ()
) -> FastAPI:  # fmt: skip
    """The application of a server."""
    app = routed(version)
    app.state.services = services
    (dispatch,) = (route for route in jobs.dispatching.routes if isinstance(route, APIRoute))
    app.add_middleware(FirstRoute, route=dispatch)
    app.add_middleware(RequestContext, body_bytes_max=body_bytes_max, requests=services.requests)
    if trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=as_seen(trusted_proxies))
    return app


def make_document(*, version: str) -> dict[str, Any]:
    """What a server says of itself."""
    return routed(version).openapi()


def routed(version: str) -> FastAPI:
    """The application without what it needs to answer: its routes, and what it says of itself."""
    app = DocumentedApi(
        title="jobledger", version=version, description=DESCRIPTION, openapi_url="/v1/openapi.json", docs_url=None,
        redoc_url=None, redirect_slashes=False, telemetry=_NO_SPANS_OF_ITS_OWN,
    )  # fmt: skip
    for router in ROUTERS:  # as they are: including them would build each route again, at the first requests
        app.router.routes.extend(router.routes)
    problems.install(app)
    return app
