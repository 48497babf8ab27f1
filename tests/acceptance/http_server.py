"""A server for the tests of a module, on each engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.service import publish_types
from jobledger.infrastructure.settings import load
from tests.support.http_app import app
from tests.support.postgres import TestCluster
from tests.support.server import RunningServer, running_server

TENANTS = ("acme", "other")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with the tenants `acme` and `other` and the job types of `http_app`."""
    folder = tmp_path_factory.mktemp("http")
    database = f"sqlite:///{folder}/ledger.db"
    with ExitStack() as ending:
        if request.param == "postgres":
            cluster: TestCluster = request.getfixturevalue("postgres_cluster")
            database = ending.enter_context(cluster.database(migrated=True))
        server = ending.enter_context(running_server(database, folder))
        prepare(server)
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    """An administrator's client."""
    with server.client() as client:
        yield client


def prepare(server: RunningServer) -> None:
    """Publish the job types of `http_app`, and make the tenants."""
    handle = open_ledger(load(database=server.database), app=app)
    try:
        publish_types(handle, app)
    finally:
        handle.close()
    for tenant in TENANTS:
        with server.client() as client:
            created = client.post("/v1/tenants", json={"name": tenant, "reason": "a customer"})
            assert created.status_code == 201, created.text
