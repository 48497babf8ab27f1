"""Every route of an application, found by walking through what it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from jobledger.infrastructure.http.app import routed

_IMPLIED = {"HEAD", "OPTIONS"}


def application_routes() -> list[str]:
    """`GET /v1/tenants` and so on. Fails for what is neither a route nor a router: it has to be looked at."""
    app = routed("1")
    return routes_of(app)


def routes_of(app: FastAPI) -> list[str]:
    """Those of one application."""
    return sorted(_routes(app.routes, ""))


def _routes(routes: Any, prefix: str) -> Iterator[str]:  # noqa: ANN401 - starlette's and FastAPI's kinds of routes
    for route in routes:
        if (router := getattr(route, "original_router", None)) is not None:
            yield from _routes(router.routes, prefix + route.include_context.prefix)
        elif getattr(route, "methods", None):
            yield from (f"{method} {prefix}{route.path}" for method in route.methods - _IMPLIED)
        elif getattr(route, "routes", None):
            yield from _routes(route.routes, prefix + route.path)
        else:
            yield f"{type(route).__name__} {prefix}{route.path}"
