"""Tenants cannot see each other in the console: every route that names a tenant, for a key of another one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi.routing import APIRoute

from jobledger.domain.identity import Grant, Role
from jobledger.infrastructure.console.app import ROUTERS
from tests.support.console import ConsoleUnderTest

ROUTES = sorted(
    (method, route.path)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute) and "{tenant}" in route.path
    for method in sorted(route.methods or ())
)  # fmt: skip
_VARYING = re.compile(
    r'(data-now|datetime)="[^"]*"|<code>[0-9a-f]{16}</code>|just now|[0-9]+ s ago|after=[0-9a-f.]+'
    r"|(?<=acts/)[0-9a-f-]{36}\.[0-9]+",
    re.ASCII,
)
FORM = {"reason": "x", "count": "1", "confirm": "1"}


@pytest.fixture(scope="module")
def dead(each_console: ConsoleUnderTest) -> UUID:
    """A dead job of the tenant whose key nobody here has."""
    (job_id,) = each_console.dead("a secret of acme")
    return job_id


@pytest.fixture(scope="module")
def client(each_console: ConsoleUnderTest) -> Iterator[httpx.Client]:
    """Somebody who may do everything, for another tenant."""
    key = each_console.make_key(Grant(role=Role.ADMIN, tenants=frozenset({"other"})))
    with httpx.Client(base_url=each_console.url, headers={"Origin": each_console.url}) as client:
        answered = client.post("/login", data={"key": key})
        client.headers["Cookie"] = answered.headers["set-cookie"].partition(";")[0]
        yield client


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_what_is_anothers_is_not_there(
    each_console: ConsoleUnderTest, client: httpx.Client, dead: UUID, method: str, path: str
) -> None:
    """The answer is that for what does not exist, and nothing is done."""
    before = each_console.topics(dead)
    theirs = answer(client, method, path, tenant="acme", job=dead)
    assert theirs == answer(client, method, path, tenant="nobody", job=uuid4())
    assert "secret" not in theirs[1]
    own = answer(client, method, path, tenant="other", job=dead)
    assert own == answer(client, method, path, tenant="other", job=uuid4())
    assert "secret" not in own[1]
    assert each_console.topics(dead) == before


def test_the_console_has_routes_with_a_tenant() -> None:
    """So many that the test above is not empty."""
    assert len(ROUTES) >= 9 and ("POST", "/tenants/{tenant}/jobs/{job}/{act}") in ROUTES


def answer(client: httpx.Client, method: str, path: str, *, tenant: str, job: UUID) -> tuple[int, str]:
    """Status and text of an answer, without what the caller said himself or what differs with each request."""
    place = path.format(tenant=tenant, job=job, act="requeue")
    form = FORM if method == "POST" else None
    with client.stream(method, place, params={"fingerprint": "x"}, data=form) as answered:
        goes_on = answered.headers.get("content-type", "").startswith("text/event-stream")
        text = next(answered.iter_lines()) if goes_on else answered.read().decode()
    text = answered.headers.get("location", "") + text
    text = _VARYING.sub("", text)
    for said in (str(job), job.hex[-8:], tenant):
        text = text.replace(said, "")
    return answered.status_code, text
