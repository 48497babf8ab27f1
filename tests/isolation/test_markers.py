"""What tenant B keeps to itself never reaches A: not in an answer, an error, a log line or a header."""

from __future__ import annotations

import logging
from dataclasses import asdict

import httpx
import pytest
import structlog

from .session import everything_of_a
from .world import MARKER, World


def test_nothing_of_b_reaches_a(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A does all that it can; B's payloads, results, errors, personas, reasons, steps and names stay where they are."""
    caplog.set_level(logging.DEBUG)
    with world.client(world.keys["everything"]) as client, structlog.testing.capture_logs() as events:
        answers = list(everything_of_a(world, client))
    assert len(answers) > 200 and {answer.status_code for answer in answers} >= {200, 201, 202, 403, 404, 409, 422}
    for answered in answers:
        assert answered.status_code < 500, answered.text
        said = f"{answered.headers} {answered.text}"
        assert MARKER not in said, f"{answered.request.method} {answered.request.url}"
    assert events and not [event for event in events if MARKER in repr(event)]
    assert MARKER not in caplog.text


def test_metrics_carry_nothing_of_a_tenant(world: World) -> None:
    """Whoever scrapes the server reads numbers by route and by queue (queues are the installation's), and nothing of
    what A or B has, is called, or asked for."""
    for key in (world.keys["everything"], world.admin_key):
        with world.client(key) as client:
            for names in (world.own, world.theirs):
                client.get(f"/v1/tenants/{names.tenant}/jobs/{names.job}?payload=true")
    scraped = httpx.get(f"{world.metrics_url}/metrics").raise_for_status().text
    assert "route=" in scraped and 'status="2xx"' in scraped and 'status="4xx"' in scraped
    assert MARKER not in scraped
    of_tenants = {
        value for names in (world.own, world.theirs) for name, value in asdict(names).items() if name != "queue"
    }
    assert [value for value in sorted(of_tenants) if f'"{value}"' in scraped] == []


def test_what_a_asks_is_what_the_log_has_of_it(world: World) -> None:
    """A refusal's line names what was asked for, and nothing that is there."""
    with world.client(world.keys["everything"]) as client, structlog.testing.capture_logs() as events:
        client.get(f"/v1/tenants/{world.theirs.tenant}/jobs/{world.theirs.job}")
    (line,) = [event for event in events if event["event"] == "http.request"]
    assert line.keys() == {"event", "log_level", "method", "path", "status", "seconds"}


def test_b_has_what_a_is_not_to_see(world: World) -> None:
    """So that the tests above look for something."""
    place = f"/v1/tenants/{world.theirs.tenant}"
    shown = (
        f"{place}/jobs", f"{place}/dlq", f"{place}/jobs/{world.theirs.job}?payload=true", "/v1/tenants",
        f"{place}/jobs/{world.theirs.dead}/history?bodies=true", f"/v1/limits/tenant/{world.theirs.tenant}",
    )  # fmt: skip
    with world.client(world.admin_key) as client:
        for path in shown:
            answered: httpx.Response = client.get(path)
            assert MARKER in answered.text, path
