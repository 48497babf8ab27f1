"""Operations: acts that outlast their request, looked at from any server, also when the one that did them is dead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.cli import Cli
from tests.support.http_dead import bury
from tests.support.http_keys import recorded
from tests.support.server import RunningServer, running_server
from tests.support.waiting import until

from .http_server import client, server

__all__ = ["client", "server"]

MANY = 3_000
WHY = {"reason": "gateway fixed"}


@pytest.fixture
def tenant(client: httpx.Client) -> str:
    """A tenant of this test's own."""
    name = f"t{uuid4().hex[:12]}"
    assert client.post("/v1/tenants", json={"name": name, **WHY}).status_code == 201
    return name


@pytest.fixture
def buried(server: RunningServer, tenant: str) -> int:
    """Many dead jobs."""
    bury(server.database, MANY, tenant=tenant)
    return MANY


@pytest.fixture
def second(server: RunningServer, tmp_path: Path) -> Iterator[RunningServer]:
    """Another server on the same ledger."""
    with running_server(server.database, tmp_path, key=server.key) as second:
        yield second


def count(client: httpx.Client, tenant: str) -> dict[str, Any]:
    """What is dead."""
    counted: dict[str, Any] = client.get(f"/v1/tenants/{tenant}/dlq/count").json()
    return counted


def begin(client: httpx.Client, tenant: str, act: str = "requeue") -> str:
    """Begin an act on all that are buried; where to look at it."""
    seen = count(client, tenant)
    body = {"filter": {"until": seen["until"]}, **WHY, "expected_count": seen["count"]}
    begun = client.post(f"/v1/tenants/{tenant}/dlq/{act}", json=body)
    assert begun.status_code == 202, begun.text
    return begun.headers["Location"]


def is_half_way(client: httpx.Client, location: str) -> bool:
    """Whether some are done, and not all."""
    operation = client.get(location).json()
    done: int = operation["progress"]["done"]
    assert operation["status"] == "running" and done < MANY, "it was too fast for this test"
    return done > 0


def test_a_server_that_dies_half_way(client: httpx.Client, second: RunningServer, tenant: str, buried: int) -> None:
    """What it did stays done; other servers say that it broke off; begun again, the rest is done, and none twice."""
    with second.client() as doomed:
        location = begin(doomed, tenant)
        until(lambda: is_half_way(doomed, location), "nothing is done")
    second.process.kill()
    second.process.wait()
    until(lambda: client.get(location).json()["status"] == "failed", "nobody says that its process died")
    operation = client.get(location).json()
    assert (operation["problem"]["code"], operation["problem"]["status"]) == ("interrupted", 409)
    assert "its process died" in operation["problem"]["detail"] and operation["result"] is None
    left = count(client, tenant)["count"]
    assert 0 < left < buried
    again = begin(client, tenant)
    until(lambda: client.get(again).json()["status"] != "running", "it does not end")
    assert client.get(again).json()["result"]["changed"] == left
    requeued = Counter(event["stream_id"] for event in recorded(client, tenant, topic="job.requeued"))
    assert len(requeued) == buried and set(requeued.values()) == {1}
    told = Cli(second.log.parent, second.database)("dlq", "history", "--tenant", tenant).out
    assert "; its process died by key:admin" in told and f"requeued {left:,} of {left:,}" in told
    acts = client.get(f"/v1/tenants/{tenant}/dlq/acts").json()["acts"]
    assert [act["finished"] for act in acts] == [True, None]


def test_a_server_that_is_stopped_half_way_says_so(
    client: httpx.Client, second: RunningServer, tenant: str, buried: int
) -> None:
    """It breaks off between two batches, and that is on record at once."""
    with second.client() as doomed:
        location = begin(doomed, tenant, "discard")
        until(lambda: is_half_way(doomed, location), "nothing is done")
    second.process.terminate()
    second.process.wait()
    operation = client.get(location).json()
    assert (operation["status"], operation["problem"]["code"]) == ("failed", "interrupted")
    done = operation["progress"]["done"]
    assert 0 < done < buried
    assert count(client, tenant)["count"] == buried - done
    again = begin(client, tenant, "discard")
    until(lambda: client.get(again).json()["status"] == "succeeded", "it does not end")


def test_another_server_knows_of_it(client: httpx.Client, second: RunningServer, tenant: str) -> None:
    """While it goes on, and what came of it; which jobs were refused, only the server that did it."""
    bury(second.database, 3, tenant=tenant)
    with second.client() as other:
        location = begin(other, tenant, "discard")
        until(lambda: client.get(location).json()["status"] == "succeeded", "it does not end")
        own, told = other.get(location).json(), client.get(location).json()
    assert (own["result"].pop("troubles"), told["result"].pop("troubles")) == ([], None)
    assert own["result"].pop("position") is not None and told["result"].pop("position") is None
    assert (own["operation_id"], own["result"]) == (told["operation_id"], told["result"])
    assert own["progress"] == told["progress"] == {"done": 3, "total": 3, "state": None, "fraction": None}
