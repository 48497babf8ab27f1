"""Statistics over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from .http_server import client, server

__all__ = ["client", "server"]

TENANT = "/v1/tenants/acme"


def test_what_happened_to_a_tenants_jobs(client: httpx.Client) -> None:
    """Counted in groups, waited for until a position is in it; a group names only what it is told apart by."""
    persona = f"statistics-{uuid4().hex[:8]}"
    for _ in range(3):
        last = client.post(f"{TENANT}/jobs", json={"type": "number.double", "persona": persona}).json()
    cancelled = client.post(f"{TENANT}/jobs/{last['job_id']}/cancel", json={"reason": "no"}).json()
    found = client.get(
        f"{TENANT}/statistics", params={"by": ["type", "persona"], "after": cancelled["position"]}
    ).json()
    (group,) = [group for group in found["groups"] if group["persona"] == persona]
    assert (group["type"], group["dispatched"], group["cancelled"], group["completed"]) == ("number.double", 3, 1, 0)
    assert not {"queue", "bucket_at"} & set(group)
    assert (found["by"], found["since"], found["until"]) == (["persona", "type"], None, None)
    everything = client.get(f"{TENANT}/statistics").json()["groups"]
    assert len(everything) == 1


def test_times_are_widened_to_whole_buckets(client: httpx.Client) -> None:
    """The answer says from when to when it is."""
    params = {"since": "2026-01-01T09:30:00+01:00", "until": "2026-01-01T10:10:00Z", "by": "hour"}
    found = client.get(f"{TENANT}/statistics", params=params).json()
    assert (found["since"], found["until"], found["groups"]) == ("2026-01-01T08:00:00Z", "2026-01-01T11:00:00Z", [])


def test_what_happened_in_the_queues(client: httpx.Client) -> None:
    """Of all tenants together."""
    job = client.post("/v1/tenants/other/jobs", json={"type": "number.double", "queue": "crowded"}).json()
    found = client.get("/v1/statistics/queues", params={"after": job["position"]}).json()
    assert {group["queue"]: group["dispatched"] for group in found["groups"]}["crowded"] >= 1


@pytest.mark.parametrize(
    ("path", "params", "field"),
    [
        (f"{TENANT}/statistics", {"by": "minute"}, "query.by.0"),
        (f"{TENANT}/statistics", {"limit": 1001}, "query.limit"),
        (f"{TENANT}/statistics", {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "query.until"),
        (f"{TENANT}/statistics", {"after": "x"}, "query.after"),
        ("/v1/statistics/queues", {"by": "persona"}, "query.by.0"),
        ("/v1/statistics/queues", {"until": "x"}, "query.until"),
    ],
)
def test_what_is_wrong_is_named(client: httpx.Client, path: str, params: dict[str, Any], field: str) -> None:
    """422, with the parameter."""
    refused = client.get(path, params=params)
    assert (refused.status_code, refused.json()["field"]) == (422, field)


def test_an_unknown_tenant_has_none(client: httpx.Client) -> None:
    """404."""
    assert client.get("/v1/tenants/nobody/statistics").json()["code"] == "unknown_tenant"
