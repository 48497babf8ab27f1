"""Clients of a server and of the fake: what the tests of both are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count

import pytest

from jobledger.client import Client
from tests.support.client_worlds import WORLDS, World, sqlite_server, world
from tests.support.server import RunningServer

_personas = (f"client-{number}" for number in count())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], RunningServer]]:
    """Starts a server when it is asked for."""
    with ExitStack() as ending:
        started: list[RunningServer] = []

        def running() -> RunningServer:
            if not started:
                started.append(ending.enter_context(sqlite_server(tmp_path_factory.mktemp("client"))))
            return started[0]

        yield running


@pytest.fixture(params=WORLDS)
def its(request: pytest.FixtureRequest, server: Callable[[], RunningServer]) -> Iterator[World]:
    """A client and what is behind it."""
    with world(request.param, server) as made:
        yield made


@pytest.fixture
def client(its: World) -> Client:
    """The client."""
    return its.client


@pytest.fixture
def persona() -> str:
    """A persona of the test's own: servers are shared."""
    return next(_personas)
