"""API keys over HTTP: who makes one has its secret, nobody else ever sees it."""

from __future__ import annotations

import httpx
import pytest

from tests.support.http_keys import key_for, recorded, refusals
from tests.support.server import RunningServer
from tests.support.waiting import until

from .http_server import client, server

__all__ = ["client", "server"]

WHY = {"reason": "OPS-12"}


def test_a_key_is_made_and_works(server: RunningServer, client: httpx.Client) -> None:
    """Its credential stands in this answer, which nobody may keep; the ledger has no secret."""
    body = {"name": "billing", "grants": [{"role": "emitter", "tenants": ["acme"]}], **WHY}
    made = client.post("/v1/keys", json=body)
    assert (made.status_code, made.headers["Cache-Control"]) == (201, "no-store")
    key, credential = made.json()["key"], made.json()["credential"]
    assert (key["status"], key["name"], key["technical"]) == ("active", "billing", True)
    assert key["grants"] == [{"role": "emitter", "tenants": ["acme"], "queues": None, "extra": []}]
    with server.client(credential) as emitter:
        assert emitter.post("/v1/tenants/acme/jobs", json={"type": "number.double"}).status_code == 201
    listed = {row["key_id"]: row for row in client.get("/v1/keys").json()["keys"]}
    assert listed[key["key_id"]]["created_by"] == "key:admin"
    (event,) = [e for e in recorded(client, "system", topic="api_key.created") if e["facts"]["key_id"] == key["key_id"]]
    assert credential.partition(".")[2] not in str(event) and credential not in client.get("/v1/keys").text


def test_a_key_is_rotated(server: RunningServer, client: httpx.Client) -> None:
    """Both secrets work, until the next rotation."""
    first = key_for(client, "auditor")
    answered = client.post(f"/v1/keys/{first.key_id}/rotate", json=WHY)
    assert (answered.status_code, answered.headers["Cache-Control"]) == (200, "no-store")
    second = answered.json()["credential"]
    assert len(answered.json()["key"]["secrets"]) == 2
    for credential in (first.credential, second):
        with server.client(credential) as auditor:
            assert auditor.get("/v1/audit/actions", params={"limit": 1}).status_code == 200
    client.post(f"/v1/keys/{first.key_id}/rotate", json=WHY)
    with server.client(first.credential) as late:
        until(lambda: late.get("/v1/tenants").status_code == 401, "the oldest secret is still good")


def test_a_key_is_revoked(server: RunningServer, client: httpx.Client) -> None:
    """For good, within two seconds."""
    key = key_for(client, "auditor")
    revoked = client.post(f"/v1/keys/{key.key_id}/revoke", json=WHY)
    assert (revoked.status_code, revoked.json()["key"]["status"]) == (200, "revoked")
    with server.client(key.credential) as former:
        until(lambda: former.get("/v1/tenants").status_code == 401, "the key is still good")
    again = client.post(f"/v1/keys/{key.key_id}/revoke", json=WHY)
    assert (again.status_code, again.json()["code"]) == (409, "illegal_transition")
    assert client.post(f"/v1/keys/{key.key_id}/rotate", json=WHY).status_code == 409


def test_keys_come_in_pages(client: httpx.Client) -> None:
    """A cursor opens the next one."""
    key_for(client, "auditor")
    first = client.get("/v1/keys", params={"limit": 1}).json()
    second = client.get("/v1/keys", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert first["keys"][0]["key_id"] < second["keys"][0]["key_id"]
    assert client.get("/v1/keys", params={"cursor": "bm9uZQ"}).json()["field"] == "query.cursor"


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"grants": [{"role": "emitter"}], **WHY}, "invalid_input", "name"),
        ({"name": "x", "grants": [], **WHY}, "invalid_input", "grants"),
        ({"name": "x", "grants": [{"role": "king"}], **WHY}, "invalid_input", "grants.0.role"),
        ({"name": "x", "grants": [{"role": "auditor", "extra": ["keys.administer"]}], **WHY}, "invalid_input",
         "grants.0.extra.0"),
        ({"name": "x", "grants": [{"role": "emitter", "tenants": ["nobody"]}], **WHY}, "unknown_tenant", "tenant"),
        ({"name": "x", "grants": [{"role": "emitter"}]}, "reason_required", "reason"),
        ({"name": "x", "grants": [{"role": "emitter"}], "expires_at": "2020-01-01T00:00:00Z", **WHY}, "invalid_input",
         "expires_at"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_key_is_named(
    client: httpx.Client, body: dict[str, object], code: str, field: str
) -> None:
    """And no key is made."""
    before = len(client.get("/v1/keys").json()["keys"])
    problem = client.post("/v1/keys", json=body).json()
    assert (problem["code"], problem["field"]) == (code, field)
    assert len(client.get("/v1/keys").json()["keys"]) == before


def test_a_key_that_is_not_there(client: httpx.Client) -> None:
    """Neither rotated nor revoked; what is no id is not repeated: it may be a secret."""
    for verb in ("rotate", "revoke"):
        assert client.post(f"/v1/keys/0000aaaa/{verb}", json=WHY).json()["code"] == "not_found"
        problem = client.post(f"/v1/keys/jl_0000aaaa.secret/{verb}", json=WHY)
        assert (problem.status_code, problem.json()["field"]) == (422, "path.key_id")
        assert "secret" not in problem.text


def test_only_administrators_of_everything_make_keys(server: RunningServer, client: httpx.Client) -> None:
    """An administrator of one tenant cannot make himself one of all; refusals are on record."""
    for role, grant in (("admin", {"tenants": ["acme"]}), ("operator", {}), ("auditor", {})):
        key = key_for(client, role, **grant)
        with server.client(key.credential, **{"X-Request-Id": "climber"}) as climber:
            body = {"name": "mine", "grants": [{"role": "admin"}], **WHY}
            assert climber.post("/v1/keys", json=body).json()["code"] == "not_permitted"
            assert climber.get("/v1/keys").status_code == 403
            assert climber.post(f"/v1/keys/{key.key_id}/rotate", json=WHY).status_code == 403
        asked = [(one["facts"]["asked"], one["request_id"]) for one in refusals(client, key.identity)]
        assert asked == [("CreateKey", "climber"), ("RotateKey", "climber")]
