"""Fixtures for all tests. Nothing is skipped: the PostgreSQL that tests need comes with the development install. (Only
what is tested with a program of Debian's, such as PgBouncer, is skipped where that is missing, with a warning.)"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack

import pytest

from jobledger.infrastructure.postgres.embedded import EmbeddedPostgres

from .support.hanging import no_hanging_teardown
from .support.places import quick_place_of_programs
from .support.postgres import DurableCluster, TestCluster, embedded_server, one_seed


def pytest_configure(config: pytest.Config) -> None:
    """The process that starts all others says where temporary files go, and from what clusters are made."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(quick_place_of_programs()))
        ending = ExitStack()
        ending.enter_context(one_seed())
        config.add_cleanup(ending.close)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Nor does a teardown hang the run."""
    with no_hanging_teardown(item):
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def _bare_environment() -> Iterator[None]:
    """Keep a developer's own JOBLEDGER_* settings out of the tests (all but which PostgreSQL to run them on)."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("JOBLEDGER_")]:
            if name != "JOBLEDGER_PG_BIN":
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """The session's server. fsync is off: only fault tests and benchmarks need what it promises."""
    with embedded_server(fsync=False) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_cluster(postgres_server: EmbeddedPostgres) -> TestCluster:
    """The session's cluster, which has databases for tests."""
    return TestCluster(postgres_server)


@pytest.fixture
def empty_postgres_database(postgres_cluster: TestCluster) -> Iterator[str]:
    """The URL of a database without any schema, for this test alone."""
    with postgres_cluster.database() as dsn:
        yield dsn


@pytest.fixture
def postgres_dsn(postgres_cluster: TestCluster) -> Iterator[str]:
    """The URL of a migrated database, for this test alone."""
    with postgres_cluster.database(migrated=True) as dsn:
        yield dsn


@pytest.fixture
def durable_postgres() -> Iterator[DurableCluster]:
    """A cluster with fsync on, for this test alone, which may kill and recover it. Its databases are empty."""
    with embedded_server(fsync=True) as server:
        yield DurableCluster(server)


_LONG_FILES = (
    "test_soak", "faults/test_rebuild.py", "test_benchmarks", "test_poison", "test_bad_handlers",
    "test_process_isolation", "test_projections.py", "test_dlq.py", "test_embedded_postgres", "test_worker_kill",
    "test_metrics.py", "test_processes.py", "test_demo.py", "test_audit_replay", "test_refusals", "test_limits.py",
    "test_behind_pgbouncer", "test_how_to_", "test_tutorial", "test_limits_model",
    "browser/test_job", "browser/test_safety",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first where files run side by side: the run does not wait for one of them alone."""
    items.sort(
        key=lambda item: next((n for n, name in enumerate(_LONG_FILES) if name in item.nodeid), len(_LONG_FILES))
    )
