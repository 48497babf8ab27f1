"""One job over HTTP: its history, what changed, why it waits, what caused it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.server import RunningServer

from .http_server import client, server

__all__ = ["client", "server"]

TENANT = "/v1/tenants/acme"
NOBODYS = "0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f"


@pytest.fixture
def place(client: httpx.Client) -> str:
    """Where a job is that was rescheduled twice and cancelled: it has four versions."""
    body = {"type": "number.double", "payload": {"number": 4}, "correlation_id": f"request-{uuid4().hex}"}
    place = client.post(f"{TENANT}/jobs", json=body).headers["Location"]
    for priority in (5, 7):
        client.post(f"{place}/reschedule", json={"reason": "soon", "priority": priority}, headers={"If-Match": "*"})
    client.post(f"{place}/cancel", json={"reason": "no need"})
    return place


def test_a_history_in_pages(client: httpx.Client, place: str) -> None:
    """Every event once, oldest first, with who, why and when; a page goes on where the one before ended."""
    first = client.get(f"{place}/history", params={"limit": 3}).json()
    rest = client.get(f"{place}/history", params={"after_version": first["next_version"], "limit": 3}).json()
    events = [*first["events"], *rest["events"]]
    assert [event["topic"] for event in events] == [
        "job.dispatched", "job.rescheduled", "job.rescheduled", "job.cancelled",
    ]  # fmt: skip
    assert [event["version"] for event in events] == [1, 2, 3, 4]
    assert rest["next_version"] is None
    assert events[3]["why"] == "no need"
    assert rest["events"][0]["seconds"] >= 0  # known across pages
    assert events[0]["actor"] == events[3]["actor"]
    assert events[0]["address"] == "127.0.0.1"
    assert "body" not in events[0]


def test_bodies_are_shown_where_asked_for(client: httpx.Client, place: str) -> None:
    """With `bodies` the payload stands at the event that brought it."""
    events = client.get(f"{place}/history", params={"bodies": "true"}).json()["events"]
    assert [event["body"] for event in events] == [{"number": 4}, None, None, None]


def test_what_changed(client: httpx.Client, place: str) -> None:
    """Fields before and after, and what happened between; a version that is none is named."""
    found = client.get(f"{place}/diff", params={"from_version": 1, "to_version": 3}).json()
    assert (found["from"]["version"], found["to"]["version"], found["payload"]) == (1, 3, None)
    assert {"name": "priority", "before": 0, "after": 7} in found["fields"]
    assert found["topics"] == ["job.rescheduled", "job.rescheduled"]
    assert client.get(f"{place}/diff", params={"from_version": 2}).json()["to"]["version"] == 4
    for params, field in (
        ({}, "query.from_version"), ({"from_version": 0}, "query.from_version"),
        ({"from_version": 9}, "query.from_version"), ({"from_version": 1, "to_version": 9}, "query.to_version"),
    ):  # fmt: skip
        refused = client.get(f"{place}/diff", params=params)
        assert refused.json()["field"] == field, refused.text
        assert refused.status_code in (404, 422)


def test_what_caused_a_job(client: httpx.Client, place: str) -> None:
    """The message that led to it, and the jobs that name its events as their cause."""
    job_id = place.rpartition("/")[2]
    body = {"type": "number.double", "causation_id": f"{job_id}.1"}
    caused = client.post(f"{TENANT}/jobs", json=body).json()
    found = client.get(f"{place}/causes", params={"after": caused["position"]}).json()
    assert (found["cause"], found["more"]) == (None, False)
    assert [(job["job_id"], job["caused_by"]) for job in found["caused"]] == [(caused["job_id"], job_id)]
    own = client.get(f"{TENANT}/jobs/{caused['job_id']}/causes").json()
    assert (own["cause"]["job_id"], own["cause"]["topic"]) == (job_id, "job.dispatched")


def test_why_a_job_is_where_it_is(client: httpx.Client, place: str) -> None:
    """What holds a waiting one back; how one that ended did so."""
    waiting = client.post(f"{TENANT}/jobs", json={"type": "number.double"}).headers["Location"]
    found = client.get(f"{waiting}/explanation").json()
    assert (found["status"], [hold["kind"] for hold in found["waits_for"]]) == ("pending", ["no_worker"])
    ended = client.get(f"{place}/explanation").json()
    assert (ended["status"], ended["waits_for"]) == ("cancelled", [])
    assert "no need" in ended["account"]


@pytest.mark.parametrize("what", ["history", "diff?from_version=1", "causes", "explanation", "result", "events"])
def test_of_a_job_that_is_not_there_nothing_is_told(client: httpx.Client, place: str, what: str) -> None:
    """Of no job, another tenant's, and an unknown tenant: 404; of what is no id: 422."""
    job_id = place.rpartition("/")[2]
    for where, code in (
        (f"{TENANT}/jobs/{NOBODYS}", "not_found"), (f"/v1/tenants/other/jobs/{job_id}", "not_found"),
        (f"/v1/tenants/nobody/jobs/{job_id}", "unknown_tenant"),
    ):  # fmt: skip
        answered = client.get(f"{where}/{what}")
        assert (answered.status_code, answered.json()["code"]) == (404, code)
    answered = client.get(f"{TENANT}/jobs/1/{what}")
    assert (answered.status_code, answered.json()["field"]) == (422, "path.job_id")


def test_pages_of_a_history_are_bounded(client: httpx.Client, place: str) -> None:
    """A page has 1 to 1,000 events, after a version that can be."""
    for params, field in (
        ({"limit": 0}, "query.limit"), ({"limit": 1001}, "query.limit"), ({"after_version": -1}, "query.after_version"),
        ({"after_version": 1 << 63}, "query.after_version"),
    ):  # fmt: skip
        params_: dict[str, Any] = dict(params)
        refused = client.get(f"{place}/history", params=params_)
        assert (refused.status_code, refused.json()["field"]) == (422, field)
    assert client.get(f"{place}/history", params={"after_version": 1 << 40}).json()["events"] == []


def test_nobody_reads_without_a_key(server: RunningServer, place: str) -> None:
    """401, whatever is asked."""
    for what in ("", "/history", "/diff?from_version=1", "/causes", "/explanation", "/result", "/events"):
        assert httpx.get(f"{server.url}{place}{what}").status_code == 401
