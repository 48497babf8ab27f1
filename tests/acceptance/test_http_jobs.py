"""Jobs over HTTP: a real server, and nothing but requests."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

from tests.support.server import RunningServer

from .http_server import client, server

__all__ = ["client", "server"]

TENANT = "/v1/tenants/acme"
NOBODYS = "0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f"


def test_a_job_is_dispatched_and_shown(client: httpx.Client) -> None:
    """What was dispatched is there at once, with its version as ETag and where to find it."""
    answered = client.post(f"{TENANT}/jobs", json={"type": "number.double", "payload": {"number": 4}})
    assert answered.status_code == 201
    dispatched = answered.json()
    assert answered.headers["Jobledger-Position"] == dispatched["position"]
    shown = client.get(answered.headers["Location"], params={"payload": "true"})
    assert (shown.status_code, shown.headers["ETag"]) == (200, '"1"')
    job = shown.json()
    assert (job["job_id"], job["status"], job["payload"]) == (dispatched["job_id"], "pending", {"number": 4})


def test_the_same_key_gives_the_first_job_back(client: httpx.Client) -> None:
    """201 the first time, 200 and the same job afterwards; another payload is a conflict."""
    key, body = {"Idempotency-Key": str(uuid4())}, {"type": "number.double", "payload": {"number": 1}}
    first = client.post(f"{TENANT}/jobs", json=body, headers=key)
    again = client.post(f"{TENANT}/jobs", json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["job_id"] == again.json()["job_id"]
    other = client.post(f"{TENANT}/jobs", json={**body, "payload": {"number": 2}}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


def test_a_job_is_cancelled_as_it_was_seen(client: httpx.Client) -> None:
    """With the ETag of a version that is no more it is 412, and nothing happens."""
    place = client.post(f"{TENANT}/jobs", json={"type": "number.double"}).headers["Location"]
    late = client.post(f"{place}/cancel", json={"reason": "no"}, headers={"If-Match": '"7"'})
    assert (late.status_code, late.json()["code"]) == (412, "version_conflict")
    cancelled = client.post(f"{place}/cancel", json={"reason": "no"}, headers={"If-Match": '"1"'})
    assert (cancelled.status_code, cancelled.headers["ETag"], cancelled.json()["status"]) == (200, '"2"', "cancelled")


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        (b'{"type": "number.double"', 400, "malformed", "body"),
        (b'{"type": "number.double", "payload": {"number": "four"}}', 422, "invalid_input", "payload.number"),
        (b'{"type": "number.double", "colour": 1}', 422, "invalid_input", "colour"),
        (b'{"type": "number.triple"}', 422, "unknown_job_type", "type"),
        (b'{"payload": {}}', 422, "invalid_input", "type"),
        (b"", 400, "malformed", "body"),
    ],
)
def test_what_is_wrong_is_named(client: httpx.Client, body: bytes, status: int, code: str, field: str) -> None:
    """A problem document with the field, and never the value."""
    answered = client.post(f"{TENANT}/jobs", content=body, headers={"Content-Type": "application/json"})
    problem = answered.json()
    assert answered.headers["Content-Type"] == "application/problem+json"
    assert (answered.status_code, problem["status"], problem["code"], problem["field"]) == (status, status, code, field)
    assert problem["type"] == f"https://jobledger.dev/problems/{code.replace('_', '-')}"
    assert problem["request_id"] == answered.headers["X-Request-Id"]


def test_nobody_gets_in_without_a_key(server: RunningServer) -> None:
    """No key, a wrong one and nonsense have the same answer, before the body is looked at."""
    answers = []
    for headers in ({}, {"Authorization": "Bearer jl_admin.x"}, {"Authorization": "Basic YTpi"}):
        answered = httpx.post(f"{server.url}{TENANT}/jobs", content=b"{", headers=headers)
        assert answered.headers["WWW-Authenticate"].startswith("Bearer")
        answers.append((answered.status_code, {**answered.json(), "request_id": ""}))
    assert answers[0][0] == 401
    assert answers[0] == answers[1] == answers[2]


def test_what_is_not_there_is_404(client: httpx.Client) -> None:
    """A tenant, a job, a path."""
    for path, code in (
        ("/v1/tenants/nobody/jobs/" + NOBODYS, "unknown_tenant"), (f"{TENANT}/jobs/{NOBODYS}", "not_found"),
        ("/v2", "not_found"),
    ):  # fmt: skip
        answered = client.get(path)
        assert (answered.status_code, answered.json()["code"]) == (404, code)


def test_a_job_is_rescheduled_as_it_was_seen(client: httpx.Client) -> None:
    """If-Match is required (428); then priority or time change, and what cannot be is named."""
    place = client.post(f"{TENANT}/jobs", json={"type": "number.double"}).headers["Location"]
    path, body = f"{place}/reschedule", {"reason": "month end", "priority": 50}
    blind = client.post(path, json=body)
    assert (blind.status_code, blind.json()["code"], blind.json()["field"]) == (
        428, "precondition_required", "header.If-Match",
    )  # fmt: skip
    late = client.post(path, json=body, headers={"If-Match": '"9"'})
    assert (late.status_code, late.json()["field"]) == (412, "header.If-Match")
    strange = client.post(path, json=body, headers={"If-Match": 'W/"1"'})
    assert (strange.status_code, strange.json()["field"]) == (422, "header.If-Match")
    moved = client.post(path, json=body, headers={"If-Match": client.get(place).headers["ETag"]})
    assert (moved.status_code, moved.headers["ETag"]) == (200, '"2"')
    delayed = client.post(path, json={"reason": "not yet", "run_at": "2099-01-01T00:00:00Z"}, headers={"If-Match": "*"})
    assert delayed.json()["status"] == "delayed"
    job = client.get(place).json()
    assert (job["priority"], job["due_at"], job["version"]) == (50, "2099-01-01T00:00:00Z", 3)
    for wrong, field in (
        ({"reason": "", "priority": 1}, "reason"), ({"reason": "x"}, "priority"),
        ({"reason": "x", "priority": 101}, "priority"), ({"reason": "x", "run_at": "2026-01-01T00:00:00"}, "run_at"),
        ({"reason": "x", "run_at": "0001-01-01T00:00:00+14:00"}, "run_at"),
    ):  # fmt: skip
        refused = client.post(path, json=wrong, headers={"If-Match": "*"})
        assert (refused.status_code, refused.json()["field"]) == (422, field)
    client.post(f"{place}/cancel", json={"reason": "no"})
    over = client.post(path, json=body, headers={"If-Match": "*"})
    assert (over.status_code, over.json()["code"]) == (409, "illegal_transition")


def test_a_job_as_it_was(client: httpx.Client) -> None:
    """With `as_of` it is told as it was, and until when it was so; before its birth there was none."""
    place = client.post(f"{TENANT}/jobs", json={"type": "number.double"}).headers["Location"]
    born = client.get(place).json()["created_at"]
    client.post(f"{place}/cancel", json={"reason": "no"})
    then = client.get(place, params={"as_of": born})
    assert (then.json()["status"], then.headers["ETag"]) == ("pending", '"1"')
    assert (then.json()["past"]["as_of"], then.json()["past"]["later_events"]) == (born, 1)
    assert client.get(place, params={"as_of": "2020-01-01T00:00:00Z"}).status_code == 404
    for wrong in ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "1", "2026-01-01T00:00:00"):
        problem = client.get(place, params={"as_of": wrong}).json()
        assert (problem["status"], problem["field"]) == (422, "query.as_of")
        assert "integer" not in problem["detail"] and "also wrong" not in problem["detail"]
    assert client.get(place, params={"after": "elsewhere.7"}).json()["field"] == "query.after"
