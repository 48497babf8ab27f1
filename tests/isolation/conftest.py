"""Both tenants' world on each engine, once for a module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from jobledger.infrastructure.bootstrap import migrate
from jobledger.infrastructure.settings import load
from tests.support.postgres import TestCluster

from .statements import Statements, recording
from .world import World, a_world


class Watched(NamedTuple):
    """A world whose statements are recorded."""

    world: World
    statements: Statements
    database: str


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def watched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """On each engine."""
    with ExitStack() as ending:
        patch = ending.enter_context(pytest.MonkeyPatch.context())
        if request.param == "postgres":
            cluster: TestCluster = request.getfixturevalue("postgres_cluster")
            database = ending.enter_context(cluster.database(migrated=True))
        else:
            database = f"sqlite:///{tmp_path_factory.mktemp('isolation')}/ledger.db"
            migrate(load(database=database))
        statements = ending.enter_context(recording(patch))
        yield Watched(ending.enter_context(a_world(database)), statements, database)


@pytest.fixture
def world(watched: Watched) -> World:
    """The world alone."""
    return watched.world
