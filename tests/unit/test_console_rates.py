"""The console counts requests as the API does: nobody gets more of a server by asking for pages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx

from jobledger.application.authorization import Authorization
from jobledger.application.known_keys import KnownKeys
from jobledger.infrastructure.console.app import make_console
from jobledger.infrastructure.console.services import Bounds, ConsoleServices
from jobledger.infrastructure.console.sessions import COOKIE, LoginLinks, Sessions
from jobledger.infrastructure.http.feed import EventFeed
from jobledger.infrastructure.http.following import Following
from jobledger.infrastructure.http.operations import Operations
from jobledger.infrastructure.http.rates import FailedProofs, Rates, Streams
from tests.support.use_cases import UseCases

from .test_console_sessions import opened

PLACE = "/tenants/acme/jobs"


def asked(test: Callable[[httpx.AsyncClient, Sessions], Awaitable[None]], per_second: float | None = None) -> None:
    """Run a test with a client of a console."""
    cases = UseCases()
    ports, clock = cases.ledger.ports, cases.clock
    failures = FailedProofs(clock.monotonic, KnownKeys(ports.keys, clock))
    sessions = opened(cases)
    console = make_console(ConsoleServices(
        Authorization(cases.dispatcher, ports.catalogue), sessions, LoginLinks(clock.monotonic), Operations(clock.now),
        Following(EventFeed(ports.reader), Streams(1)),
        Bounds(Rates(per_second, clock.monotonic), failures), clock, "1",
    ))  # fmt: skip

    async def run() -> None:
        transport = httpx.ASGITransport(console, client=("198.51.100.7", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            await test(client, sessions)

    asyncio.run(run())


def test_pages_count_as_requests_of_an_identity() -> None:
    """One too many is a page that says so, and when to try again; a part of a page is left as it is."""

    async def test(client: httpx.AsyncClient, sessions: Sessions) -> None:
        headers = {"Cookie": f"{COOKIE}={sessions.begin_as('ana')}"}
        answered = [await client.get(PLACE, headers=headers) for _ in range(3)]
        assert [one.status_code for one in answered] == [200, 200, 429]
        assert answered[2].headers["Retry-After"] == "1" and "Try again in 1 s." in answered[2].text
        part = await client.get(PLACE, headers={**headers, "HX-Request": "true"})
        assert (part.status_code, part.text) == (429, "")
        other = await client.get(PLACE, headers={"Cookie": f"{COOKIE}={sessions.begin_as('bo')}"})
        assert other.status_code == 200

    asked(test, per_second=2)


def test_guessing_keys_at_the_login_is_slowed_down() -> None:
    """As at the API: after so many failures of an address keys are not even looked up."""

    async def test(client: httpx.AsyncClient, _sessions: Sessions) -> None:
        def guess(number: int) -> Awaitable[httpx.Response]:
            form = {"key": f"jl_junk{number}." + "j" * 43}
            return client.post("/login", data=form, headers={"Origin": "http://console"})

        statuses = [(await guess(number)).status_code for number in range(int(FailedProofs.AT_ONCE) + 5)]
        assert statuses == [401] * int(FailedProofs.AT_ONCE) + [429] * 5

    asked(test)
