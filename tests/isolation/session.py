"""Everything that tenant A can do over HTTP, done once: for what is its own, what is B's, and what nobody has."""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from .asking import Ask
from .routes import ROUTES, Foreign
from .world import World

ENDLESS = {"GET /v1/tenants/{tenant}/jobs/{job_id}/events", "GET /v1/tenants/{tenant}/events"}
"""Answers that go on where there is something: asked for what is not there only."""


def everything_of_a(world: World, client: httpx.Client) -> Iterator[httpx.Response]:
    """All answers to A. What reads comes first: what is there is still there."""
    for name, row in sorted(ROUTES.items(), key=lambda item: not item[0].startswith("GET")):
        method = name.split(maxsplit=1)[0]
        asks: tuple[Ask, ...] = row.asks if isinstance(row, Foreign) else (row.ask,)
        for ask in asks:
            for their in (world.own, world.theirs, world.absent):
                if name not in ENDLESS or (their is not world.own and "{own.tenant}" not in ask.path):
                    yield ask.send(client, method, world.own, their)
