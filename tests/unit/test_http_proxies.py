"""Where a request came from, behind a proxy: the proxy says so, and nobody else is believed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import Request
from fastapi.responses import PlainTextResponse

from jobledger.domain.errors import InvalidSettings
from jobledger.infrastructure.http.authentication import address_of
from jobledger.infrastructure.http.server import make_server_app
from jobledger.infrastructure.metrics.requests import RequestTally
from jobledger.infrastructure.settings import load

PROXY, CLIENT = "10.0.0.7", "198.51.100.9"


def address_told(trusted: str | None, *forwarded: str, peer: str = PROXY) -> str:
    """The address that a request is said to come from, by a server that trusts these proxies."""
    settings = load(database="sqlite:///unused.db", http_trusted_proxies=trusted)
    services: Any = SimpleNamespace(handle=SimpleNamespace(settings=settings), requests=RequestTally())
    app = make_server_app(services)

    @app.get("/address")
    def address(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(address_of(request)))

    async def asked() -> str:
        transport = httpx.ASGITransport(app, client=(peer, 4_711))
        headers = [("X-Forwarded-For", one) for one in forwarded]
        async with httpx.AsyncClient(transport=transport, base_url="http://jobs.test") as client:
            return (await client.get("/address", headers=headers)).text

    return asyncio.run(asked())


@pytest.mark.parametrize(("trusted", "peer"), [(None, PROXY), ("10.0.0.8,10.1.0.0/16", PROXY), ("10.0.0.0/8", CLIENT)])
def test_what_another_peer_says_is_ignored(trusted: str | None, peer: str) -> None:
    """Without the setting that is every peer: the address is that of the connection."""
    assert address_told(trusted, "203.0.113.1", peer=peer) == peer


@pytest.mark.parametrize("trusted", ["10.0.0.7", "10.0.0.0/8", " 192.0.2.1 , 10.0.0.7 "])
def test_a_trusted_proxy_names_the_client(trusted: str) -> None:
    """With or without the port that it came from."""
    assert address_told(trusted, CLIENT) == address_told(trusted, f"{CLIENT}:5000") == CLIENT
    assert address_told(trusted, "2001:db8::1") == address_told(trusted, "[2001:db8::1]:5000") == "2001:db8::1"
    assert address_told(trusted) == PROXY
    assert address_told(trusted, CLIENT, peer=f"::ffff:{PROXY}") == CLIENT


def test_what_the_client_said_before_is_not_believed() -> None:
    """Of many names the last counts that is no trusted proxy's: each adds whom it heard at the end."""
    assert address_told("10.0.0.0/8", f"203.0.113.1, {CLIENT}") == CLIENT
    assert address_told("10.0.0.0/8", "203.0.113.1", CLIENT) == CLIENT
    assert address_told("10.0.0.0/8", f"203.0.113.1, {CLIENT}, 10.2.3.4") == CLIENT


@pytest.mark.parametrize("wrong", ["proxy.example", "10.0.0.1/8", "*", "10.0.0.7,x"])
def test_what_is_no_network_is_refused(wrong: str) -> None:
    """At the start: nobody is trusted by mistake."""
    with pytest.raises(InvalidSettings) as refused:
        load(database="sqlite:///unused.db", http_trusted_proxies=wrong)
    assert refused.value.field == "JOBLEDGER_HTTP_TRUSTED_PROXIES"
