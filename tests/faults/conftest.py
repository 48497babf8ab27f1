"""Fault tests run on a server that keeps its promises: fsync is on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.postgres import TestCluster, embedded_server


@pytest.fixture(scope="package")
def durable_cluster() -> Iterator[TestCluster]:
    """A cluster with fsync on, for all fault tests that leave it alive."""
    with embedded_server(fsync=True) as server:
        yield TestCluster(server)


@pytest.fixture
def durable_dsn(durable_cluster: TestCluster) -> Iterator[str]:
    """A migrated database of its own on that cluster."""
    with durable_cluster.database(migrated=True) as dsn:
        yield dsn
