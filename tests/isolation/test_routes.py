"""Tenant A asks every route for what is B's: the same answer, by the same statements, as for what is nobody's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import httpx
import pytest

from tests.support.http_keys import refusals

from .application_routes import application_routes
from .asking import Ask, Told, told
from .conftest import Watched
from .routes import ROUTES, Foreign, Installation, Nobodys, Own
from .statements import Statement
from .world import EVERYTHING, MARKER, B, World, absent_of, made_key

FOREIGN = {name: row for name, row in ROUTES.items() if isinstance(row, Foreign)}
WHOLE = {name: row for name, row in ROUTES.items() if isinstance(row, Installation)}
OPEN = {name: row for name, row in ROUTES.items() if isinstance(row, Own | Nobodys)}
OWN = "/v1/tenants/{own.tenant}"
IN_A_QUEUE = re.compile(r"\{their\.(job|dead|running|operation)\}")
ROUNDS = 6
"""A key is read again every two seconds: in one round of these it is not, also where the machine is busy."""


def test_every_route_has_a_row() -> None:
    """A route that nobody thought of isolating does not get in."""
    routes = application_routes()
    assert len(routes) > 20
    missing, gone = sorted(set(routes) - set(ROUTES)), sorted(set(ROUTES) - set(routes))
    assert not missing, f"say in tests/isolation/routes.py how tenant A asks there for tenant B's things: {missing}"
    assert not gone, f"these routes of tests/isolation/routes.py are gone: take their rows out: {gone}"


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_theirs_is_as_absent(watched: Watched, name: str) -> None:
    """Status, headers and body, byte for byte but for the name that was asked; and the same statements."""
    for role in _roles(watched.world):
        _ask_all(watched, name.split(maxsplit=1)[0], FOREIGN[name].asks, role)


def _roles(world: World) -> tuple[str, ...]:
    """All together; each alone on one engine: who may not is refused before the engine is asked for more."""
    return ("everything", *EVERYTHING) if world.handle.settings.database.engine == "sqlite" else ("everything",)


def _ask_all(watched: Watched, method: str, asks: Sequence[Ask], role: str) -> None:
    with watched.world.client(watched.world.keys[role]) as client:
        _asked(watched, client, method, asks[0], theirs=False)  # so that the key is known
        for ask in asks:
            assert any(_is_as_absent(watched, client, method, ask) for _ in range(ROUNDS)), ask


def _is_as_absent(watched: Watched, client: httpx.Client, method: str, ask: Ask) -> bool:
    """Asserts that both answers are the same; whether the statements were."""
    theirs, by_theirs = _asked(watched, client, method, ask, theirs=True)
    absent, by_absent = _asked(watched, client, method, ask, theirs=False)
    assert theirs == absent, ask
    assert theirs.status < 500, theirs
    assert MARKER not in theirs.body
    return bool(ask.differs) or by_theirs == by_absent


def _asked(watched: Watched, client: httpx.Client, method: str, ask: Ask, *, theirs: bool) -> tuple[Told, list[str]]:
    world = watched.world
    names = world.theirs if theirs else world.absent
    world.settle()
    with watched.statements.of() as statements:
        answered = ask.send(client, method, world.own, names)
    return told(answered, names), _texts(statements)


def _texts(statements: list[Statement]) -> list[str]:
    return [statement.shape for statement in statements]


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_everybodys_is_refused(world: World, name: str) -> None:
    """Whoever is for one tenant may not see or change the whole installation; who tried is on record."""
    row = WHOLE[name]
    with world.client(world.admin_key) as admin:
        # one that was not refused anything yet: who is refused again and again is recorded in sums
        credential, identity = made_key(admin, "everything")
    with world.client(credential) as client, world.client(world.admin_key) as admin:
        before = len(refusals(admin, identity))
        theirs, absent = (
            row.ask.send(client, name.split(maxsplit=1)[0], world.own, names) for names in (world.theirs, world.absent)
        )
        assert (theirs.status_code, theirs.json()["code"]) == (403, "not_permitted")
        assert told(theirs, world.theirs) == told(absent, world.absent)
        after = refusals(admin, identity)
        assert len(after) - before == (2 if row.recorded else 0)


def test_what_is_in_another_queue_is_as_absent(world: World) -> None:
    """To whoever is for other queues of the same tenant: each route about one job, attempt or operation."""
    absent = replace(absent_of(world.own), tenant=world.own.tenant)
    with world.client(world.admin_key) as admin:
        credential, _ = made_key(admin, "everything", ["special"])
    asked = 0
    with world.client(credential) as client:
        for name, row in FOREIGN.items():
            for ask in (ask for ask in row.asks if ask.path.startswith(OWN) and IN_A_QUEUE.search(ask.path)):
                method, asked = name.split(maxsplit=1)[0], asked + 1
                there, nowhere = (ask.send(client, method, world.own, names) for names in (world.own, absent))
                assert told(there, world.own) == told(nowhere, absent), ask
                assert there.status_code in (403, 404, 409), ask
    assert asked > 20


@pytest.mark.parametrize("name", OPEN)
def test_what_is_shown_to_all_shows_nothing_of_theirs(world: World, name: str) -> None:
    """No name of B, nor anything that B keeps."""
    with world.client(world.keys["everything"]) as client:
        answered = OPEN[name].ask.send(client, name.split(maxsplit=1)[0], world.own, world.theirs)
        assert answered.status_code == 200
        assert f'"{B}"' not in answered.text and MARKER not in answered.text
        assert world.theirs.hidden_in(answered.text).count("<") == answered.text.count("<")
