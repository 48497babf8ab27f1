"""Queues, limits, pauses, workers and job types over HTTP."""

from __future__ import annotations

import httpx
import pytest

from tests.support.http_keys import key_for, refusals
from tests.support.server import RunningServer

from .http_server import client, server

__all__ = ["client", "server"]

WHY = {"reason": "the gateway asks for it"}


def test_queues_are_listed_with_their_jobs(client: httpx.Client) -> None:
    """All tenants together."""
    client.post("/v1/tenants/acme/jobs", json={"type": "number.double", "queue": "counted"})
    client.post("/v1/tenants/other/jobs", json={"type": "number.double", "queue": "counted"})
    rows = {row["queue"]: row for row in client.get("/v1/queues").json()["queues"]}
    assert rows["counted"]["jobs"] == {"pending": 2, "delayed": 0, "blocked": 0, "in_progress": 0, "dlq": 0}
    assert rows["counted"]["paused"] is False
    assert "number.double" in rows["default"]["job_types"]


def test_limits_are_set_changed_and_removed(client: httpx.Client) -> None:
    """What is not named stays; who did it stands in the target's history."""
    place = "/v1/limits/queue/limited"
    made = client.put(place, json={"concurrency": 5, "rate": {"count": 100, "seconds": 60}, **WHY})
    assert made.status_code == 200 and made.headers["Jobledger-Position"] == made.json()["position"]
    assert made.json() | {"position": "", "remark": ""} == {
        "scope": "queue", "tenant": None, "name": "limited", "concurrency": 5, "weight": 1, "paused": False,
        "rate": {"count": 100, "seconds": 60.0}, "changed": True, "remark": "", "position": "",
    }  # fmt: skip
    assert client.put(place, json={"concurrency": 7, **WHY}).json()["rate"] == {"count": 100, "seconds": 60.0}
    assert client.put(place, json={"concurrency": 7, **WHY}).json()["changed"] is False
    listed = client.get("/v1/limits", params={"scope": "queue"}).json()["limits"]
    assert [row["concurrency"] for row in listed if row["name"] == "limited"] == [7]
    assert client.delete(place, params={"rate": "true", **WHY}).json()["rate"] is None
    assert client.delete(place, params=WHY).json()["concurrency"] is None
    past = client.get(place).json()
    assert [event["topic"] for event in past["events"]] == 4 * ["queue.limited"]
    assert past["events"][0]["why"] == "5 at a time, 100/60.0s: the gateway asks for it".replace("60.0", "60")
    assert (past["events"][0]["actor"], past["next_version"]) == ("key:admin", None)
    page = client.get(place, params={"limit": 3}).json()
    assert [len(page["events"]), page["next_version"]] == [3, 3]
    assert len(client.get(place, params={"after_version": 3}).json()["events"]) == 1


@pytest.mark.parametrize(
    ("place", "params", "target"),
    [
        ("tenant/acme", {}, {"scope": "tenant", "tenant": "acme", "name": "acme"}),
        ("persona/bot", {"tenant": "acme"}, {"scope": "persona", "tenant": "acme", "name": "bot"}),
        ("key/gateway:a/b", {"tenant": "acme"}, {"scope": "key", "tenant": "acme", "name": "gateway:a/b"}),
        ("key/gate%0Away", {"tenant": "acme"}, {"scope": "key", "tenant": "acme", "name": "gate\nway"}),
    ],
)
def test_each_kind_of_target_is_limited(
    client: httpx.Client, place: str, params: dict[str, str], target: dict[str, str]
) -> None:
    """A tenant, a persona and a key of one."""
    made = client.put(f"/v1/limits/{place}", params=params, json={"concurrency": 2, **WHY}).json()
    assert {name: made[name] for name in target} == target
    own = client.get("/v1/limits", params={"tenant": "acme"}).json()["limits"]
    assert target in [{name: row[name] for name in target} for row in own]
    assert client.get("/v1/limits", params={"tenant": "other"}).json() == {"limits": []}
    assert client.delete(f"/v1/limits/{place}", params={**params, **WHY}).status_code == 200


@pytest.mark.parametrize(
    ("pause", "resume"),
    [
        ("/v1/queues/slow/pause", "/v1/queues/slow/resume"),
        ("/v1/tenants/acme/pause", "/v1/tenants/acme/unpause"),
        ("/v1/tenants/acme/personas/bot/pause", "/v1/tenants/acme/personas/bot/resume"),
        ("/v1/tenants/acme/limit-keys/a/b/pause", "/v1/tenants/acme/limit-keys/a/b/resume"),
    ],
)
def test_each_kind_of_target_is_paused_and_resumed(client: httpx.Client, pause: str, resume: str) -> None:
    """Once: a second time it is a conflict; never without a reason."""
    assert client.post(pause, json={"reason": " "}).json()["code"] == "reason_required"
    assert client.post(pause, json=WHY).json()["paused"] is True
    again = client.post(pause, json=WHY)
    assert (again.status_code, again.json()["code"]) == (409, "illegal_transition")
    assert client.post(resume, json=WHY).json()["paused"] is False
    assert client.post(resume, json=WHY).status_code == 409


def test_a_paused_tenant_is_not_a_suspended_one(client: httpx.Client) -> None:
    """Its jobs are taken, and wait."""
    client.post("/v1/tenants/acme/pause", json=WHY)
    made = client.post("/v1/tenants/acme/jobs", json={"type": "number.double"})
    assert made.status_code == 201
    assert client.post("/v1/tenants/acme/unpause", json=WHY).status_code == 200


@pytest.mark.parametrize(
    ("place", "params", "body", "code", "field"),
    [
        ("queue/q", {}, {"concurrency": 0, **WHY}, "invalid_input", "concurrency"),
        ("queue/q", {}, {"weight": 2, **WHY}, "invalid_input", "weight"),
        ("queue/q", {}, {"concurrency": 1}, "reason_required", "reason"),
        ("queue/q", {"tenant": "acme"}, {"concurrency": 1, **WHY}, "invalid_input", "query.tenant"),
        ("persona/bot", {}, {"concurrency": 1, **WHY}, "invalid_input", "query.tenant"),
        ("planet/mars", {}, {"concurrency": 1, **WHY}, "invalid_input", "path.scope"),
        ("persona/bot", {"tenant": "nobody"}, {"concurrency": 1, **WHY}, "unknown_tenant", "query.tenant"),
    ],
)
def test_what_is_wrong_with_a_limit_is_named(  # noqa: PLR0917 - the table's columns
    client: httpx.Client, place: str, params: dict[str, str], body: dict[str, object], code: str, field: str
) -> None:
    """By the place in the request that carries it."""
    problem = client.put(f"/v1/limits/{place}", params=params, json=body).json()
    assert (problem["code"], problem["field"]) == (code, field)


def test_workers_and_job_types_are_listed(server: RunningServer, client: httpx.Client) -> None:
    """A worker that claimed something; the types with their schemas."""
    with server.client(key_for(client, "worker").credential) as worker:
        claim = {"worker": "w-1", "queues": ["nothing-here"], "limit": 1}
        assert worker.post("/v1/leases/claim", json=claim).json()["leases"] == []
    listed = client.get("/v1/workers").json()
    assert [(row["queues"], row["lost"]) for row in listed["workers"]] == [(["nothing-here"], False)]
    assert listed["lost"] == 0
    types = {row["name"]: row for row in client.get("/v1/job-types").json()["types"]}
    assert types["number.double"]["payload_schema"]["properties"]["number"]["type"] == "integer"
    assert types["number.double"]["app"] == "http-tests"


def test_whoever_is_for_one_tenant_changes_that_one_only(server: RunningServer, client: httpx.Client) -> None:
    """Queues are everybody's; of another tenant it learns nothing; what is refused is on record."""
    key = key_for(client, "operator", tenants=["acme"])
    with server.client(key.credential, **{"X-Request-Id": "limited-op"}) as limited:
        for act in ("pause", "resume"):
            assert limited.post(f"/v1/tenants/acme/personas/bot/{act}", json=WHY).status_code == 200
        whole = limited.post("/v1/tenants/acme/pause", json=WHY)
        assert (whole.status_code, whole.json()["code"]) == (403, "not_permitted")
        assert limited.get("/v1/limits", params={"tenant": "acme"}).status_code == 200
        for path in ("/v1/queues", "/v1/workers", "/v1/limits"):
            assert limited.get(path).json()["code"] == "not_permitted"
        refused = limited.post("/v1/queues/default/pause", json=WHY)
        assert (refused.status_code, refused.json()["code"]) == (403, "not_permitted")
        for tenant in ("other", "nobody"):
            answered = limited.post(f"/v1/tenants/{tenant}/pause", json=WHY)
            assert (answered.status_code, answered.json()["code"]) == (404, "unknown_tenant")
    records = refusals(client, key.identity)
    assert {(one["request_id"], one["address"]) for one in records} == {("limited-op", "127.0.0.1")}
    assert [one["facts"] for one in records] == [
        {"asked": "PauseTarget", "permission": "queues.operate", "tenant_claimed": tenant, "count": 1}
        for tenant in ("acme", "", "other", "nobody")
    ]
