"""What is told of requests that reach no route."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from jobledger.infrastructure.http.app import routed


def asked(method: str, path: str) -> tuple[int, dict[str, Any]]:
    """The problem that is answered."""
    answer = answered_to(method, path)
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()


def answered_to(method: str, path: str) -> httpx.Response:
    """All of it."""

    async def answered() -> httpx.Response:
        app: Any = routed("1")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://jobs.test") as client:
            return await client.request(method, path)

    return asyncio.run(answered())


@pytest.mark.parametrize("path", ["/v1/nothing", "/v2/tenants", "/v1/tenants/", "/v1/"])
def test_an_unknown_route_says_where_all_routes_are(path: str) -> None:
    """The document has them."""
    status, problem = asked("GET", path)
    assert (status, problem["code"], problem["detail"]) == (404, "not_found", "there is no such route")
    assert "/v1/openapi.json" in problem["hint"]


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/v1/tenants/acme/jobs", "GET, POST"), ("/v1/tenants", "GET, POST"), ("/v1/tenants/acme/suspend", "POST")],
)
def test_another_method_hears_which_there_are(path: str, methods: str) -> None:
    """Those of all routes with that path."""
    answer = answered_to("PATCH", path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, methods)
