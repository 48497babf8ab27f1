"""Errors as pages for people."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from jobledger.domain.errors import JobledgerError, LedgerUnavailable, NotFound, NotPermitted, UnknownTenant
from jobledger.infrastructure.console.app import make_console
from jobledger.infrastructure.console.services import ConsoleServices
from jobledger.infrastructure.http.problem_documents import ApiError
from tests.support.use_cases import StillClock

LIVE = {"HX-Request": "true"}


def asked(error: Exception, headers: dict[str, str] | None = None) -> httpx.Response:
    """What a page answers whose making ends in an error."""

    def broken() -> None:
        raise error

    services = ConsoleServices(None, None, None, None, None, None, StillClock(), "1.0")  # type: ignore[arg-type]
    app: FastAPI = make_console(services)
    app.add_api_route("/broken", broken)

    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"request_id": "r-17"}
        await app(scope, receive, send)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(named, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            return await client.get("/broken", headers=headers)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("error", "status", "title", "said"),
    [
        (NotPermitted("key:ana", "dlq.requeue", "for acme"), 403, "You may not do that", "the permission dlq.requeue"),
        (UnknownTenant("acme"), 404, "There is no such tenant", "or you have no access to it"),
        (NotFound("no job"), 404, "There is no such job", "or you have no access to it"),
        (NotFound("no act", field="act"), 404, "There is no such act on dead letters", "or you have no access to it"),
        (
            ApiError("too_many_requests", "more than 5 requests a second", headers={"Retry-After": "3"}), 429,
            "Too much at once", "Try again in 3 s.",
        ),
        (LedgerUnavailable("connection to 10.0.0.9 refused"), 503, "The ledger does not answer", "in a moment"),
        (RuntimeError("10.0.0.9 is broken"), 500, "Something went wrong here", "It was logged."),
    ],
)  # fmt: skip
def test_an_error_is_a_page(error: Exception, status: int, title: str, said: str) -> None:
    """It says what is wrong, what helps, and by which request the log knows it; nothing of what is inside."""
    answered = asked(error)
    assert answered.status_code == status
    assert answered.headers["content-type"].startswith("text/html")
    assert f"<h1>{title}</h1>" in answered.text and said in answered.text
    assert "<code>r-17</code>" in answered.text
    assert "10.0.0.9" not in answered.text
    assert answered.headers.get("retry-after") == ("3" if status == 429 else None)


@pytest.mark.parametrize(
    ("error", "status", "whole"),
    [
        (NotPermitted("key:ana", "jobs.read", "for acme"), 200, True), (UnknownTenant("acme"), 200, True),
        (LedgerUnavailable("away"), 503, False),
        (ApiError("too_many_requests", "slowly", headers={"Retry-After": "1"}), 429, False),
    ],
)  # fmt: skip
def test_a_part_of_a_page_never_shows_an_error(error: JobledgerError, status: int, whole: bool) -> None:
    """Where trying again may help the part stays as it is, and is marked as old; else the whole page is loaded again,
    and says what is wrong."""
    answered = asked(error, LIVE)
    assert (answered.status_code, answered.text) == (status, "")
    assert (answered.headers.get("hx-refresh") == "true") == whole
