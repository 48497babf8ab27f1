"""The console, put together."""

from __future__ import annotations

import re
import secrets
from collections.abc import MutableMapping
from importlib.metadata import version as installed_version
from typing import Any

from fastapi import FastAPI
from starlette.routing import Match, Mount

from jobledger.application.authentication import Authenticator
from jobledger.application.authorization import Authorization

from ..bootstrap import LedgerHandle
from . import errors
from .pages import dlq, dlq_acts, edit, home, job, jobs, live, login, static
from .safety import Safety
from .services import Bounds, ConsoleServices, Live, Operations
from .sessions import LoginLinks, Sessions

ROUTERS = (
    static.router, login.router, home.router, live.router, jobs.router, edit.router, job.router, dlq.router,
    dlq_acts.router,
)  # fmt: skip

_API = re.compile(r"/(v[0-9]+|livez|readyz)(/.*)?", re.ASCII)


def console_services(
    handle: LedgerHandle, authorization: Authorization, authenticator: Authenticator, *,
    operations: Operations, live_events: Live, bounds: Bounds,
) -> ConsoleServices:  # fmt: skip
    """What the console of an open ledger needs."""
    ports, key = handle.ports, handle.settings.signing_key
    signing_key = secrets.token_bytes(32) if key is None else key.get_secret_value().encode()
    oidc = handle.settings.oidc
    sessions = Sessions(signing_key, authenticator, ports.reader, ports.keys, ports.clock, oidc=oidc)
    return ConsoleServices(
        authorization, sessions, LoginLinks(ports.clock.monotonic), operations, live_events, bounds,
        ports.clock, installed_version("jobledger"),
    )  # fmt: skip


def make_console(services: ConsoleServices) -> FastAPI:
    """The application that answers with pages."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.services = services
    for router in ROUTERS:
        app.include_router(router)
    errors.install(app)
    app.add_middleware(Safety)
    return app


class Pages(Mount):
    """The console within a server: all addresses but those of the HTTP API, which answers itself that it has none."""

    def __init__(self, console: FastAPI) -> None:
        super().__init__("/", app=console)

    def matches(self, scope: MutableMapping[str, Any]) -> tuple[Match, MutableMapping[str, Any]]:
        """Whether an address is a page's."""
        path: str = scope.get("path", "")
        if _API.fullmatch(path):
            return Match.NONE, {}
        return super().matches(scope)
