"""The metrics port of a server, as a scraper and an orchestrator see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.metrics.server_vitals import ServerVitals
from jobledger.infrastructure.settings import load
from tests.support.server import RunningServer, running_server
from tests.support.waiting import until

from .test_metrics import failed_checks, get, samples

LIST = "/v1/tenants/{tenant}/jobs"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One with a metrics port, and two tenants."""
    folder = tmp_path_factory.mktemp("metrics")
    with running_server(f"sqlite:///{folder}/ledger.db", folder, "--metrics-port", "0") as server:
        with server.client() as client:
            for tenant in ("acme", "secretive"):
                assert client.post("/v1/tenants", json={"name": tenant, "reason": "a customer"}).status_code == 201
        yield server


@pytest.fixture
def port(server: RunningServer) -> str:
    """Where it listens for scrapers."""
    (listening,) = [event for event in server.events() if event["event"] == "metrics.listening"]
    return str(listening["url"])


def test_requests_are_counted_by_route(server: RunningServer, port: str) -> None:
    """By template, method and class of status, with what is under way; whatever has no route is one series."""
    with server.client() as client:
        for path in ("tenants/acme/jobs", "tenants/secretive/jobs", "tenants/nobodys/jobs", "no/such/route"):
            client.get(f"/v1/{path}")
        client.request("BREW", "/v1/tenants/acme/jobs")
        with client.stream("GET", "/v1/tenants/acme/events") as stream:
            assert stream.status_code == 200
            until(lambda: samples(port)["jobledger_http_streams{}"] == 1)
            seen = samples(port)
    assert seen[f"jobledger_http_requests_total{{method=GET,route={LIST},status=2xx}}"] == 2
    assert seen[f"jobledger_http_requests_total{{method=GET,route={LIST},status=4xx}}"] == 1
    assert seen["jobledger_http_requests_total{method=GET,route=(other),status=4xx}"] >= 1
    assert seen["jobledger_http_requests_total{method=POST,route=/v1/tenants,status=2xx}"] == 2
    assert seen[f"jobledger_http_request_seconds_count{{method=GET,route={LIST}}}"] == 3
    assert seen["jobledger_http_requests_in_flight{}"] >= 1 and seen["jobledger_http_connections{}"] >= 1
    assert seen["jobledger_http_threads{}"] > seen["jobledger_http_threads_used{}"] >= 0
    assert seen["jobledger_http_threads_awaited{}"] == seen["jobledger_group_commit_waiting_writes{}"] == 0


def test_nothing_that_was_asked_is_told(server: RunningServer, port: str) -> None:
    """No tenant, no path, no identity: whoever may scrape learns numbers only."""
    with server.client() as client:
        client.get("/v1/tenants/secretive/jobs/0198c7c0-0000-7000-8000-000000000001", params={"payload": "true"})
        client.request("STEAL", "/secretive/path")
    _, body = get(f"{port}/metrics")
    assert "(other)" in body
    for told in ("secretive", "acme", "0198c7c0", "STEAL", server.key.split(".")[0], "key:"):
        assert told not in body


def test_the_probes_name_what_they_looked_at(port: str) -> None:
    """The threads of a server live, and the ledger answers."""
    assert failed_checks(port, "livez") == (200, [])
    assert failed_checks(port, "readyz") == (200, [])
    for thread in ("http thread", "projections thread", "maintenance thread", "ledger writer thread"):
        assert f'"{thread}"' in get(f"{port}/livez")[1]


class _Living:
    has_died = False


def test_while_the_ledger_is_away_a_server_lives_and_is_not_ready(sqlite_url: str, tmp_path: Path) -> None:
    """Starting it anew would not bring the ledger back; nobody is to send it requests meanwhile."""
    handle = open_ledger(load(database=sqlite_url), create=True)
    vitals = ServerVitals(handle, _Living(), {"projections": None})
    assert [check.passed for check in vitals.readiness()] == [True]
    handle.close()
    assert [check.passed for check in vitals.readiness()] == [False]
    assert all(check.passed for check in vitals.liveness())
