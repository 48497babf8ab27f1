"""What auditors ask over HTTP: events as they were recorded, and what people did."""

from __future__ import annotations

import csv
import hashlib
import io
import json

import httpx
import pytest

from jobledger import Dispatch, Ledger
from tests.support.http_keys import key_for, recorded, refusals
from tests.support.server import RunningServer

from .http_server import client, server

__all__ = ["client", "server"]

EVENTS = "/v1/audit/events"
WHY = {"reason": "a customer asks"}


def export_of(client: httpx.Client, answered: httpx.Response, tenant: str = "acme") -> dict[str, object]:
    """What the ledger says of an export."""
    place = f"/v1/audit/exports/{answered.headers['Jobledger-Export-Id']}"
    record: dict[str, object] = client.get(place, params={"tenant": tenant}).json()
    return record


def test_events_are_handed_out_and_that_is_recorded(client: httpx.Client) -> None:
    """Line by line in the order of the ledger; the record has who, what, why, and the hash of the bytes."""
    made = client.post("/v1/tenants/acme/jobs", json={"type": "number.double", "payload": {"number": 4}})
    answered = client.get(
        EVENTS, params={"tenant": "acme", "reason": "audit 2026"}, headers={"X-Request-Id": "audit-1"}
    )
    assert (answered.status_code, answered.headers["Content-Type"]) == (200, "application/jsonl")
    events = [json.loads(line) for line in answered.text.splitlines()]
    assert made.json()["job_id"] in {event["stream_id"] for event in events}
    numbers = [int(event["position"].rpartition(".")[2]) for event in events]
    assert numbers == sorted(numbers) and "body" not in events[0]
    first, last = events[0]["position"], events[-1]["position"]
    export = export_of(client, answered)
    assert (export["actor"], export["reason"], export["bodies"]) == ("key:admin", "audit 2026", False)
    assert export["ended"] == {
        "events": len(events), "first_position": first, "last_position": last,
        "sha256": hashlib.sha256(answered.content).hexdigest(),
    }  # fmt: skip
    begun, ended = [e for e in recorded(client, "acme", topic="audit.*") if e["stream_id"] == export["export_id"]]
    assert (begun["topic"], ended["topic"]) == ("audit.export_begun", "audit.exported")
    assert begun["request_id"] == ended["request_id"] == "audit-1"


def test_a_part_of_the_events(client: httpx.Client) -> None:
    """By time, topic and actor."""
    job = client.post("/v1/tenants/acme/jobs", json={"type": "number.double"}).headers["Location"]
    client.post(f"{job}/cancel", json=WHY)
    events = recorded(client, "acme")
    middle = events[len(events) // 2]["recorded_at"]
    before, after = recorded(client, "acme", to=middle), recorded(client, "acme", **{"from": middle})
    assert [e["id"] for e in before] == [e["id"] for e in events if e["recorded_at"] < middle]
    assert [e["id"] for e in after][: len(events) - len(before)] == [
        e["id"] for e in events if e["recorded_at"] >= middle
    ]
    assert {e["topic"] for e in recorded(client, "acme", topic="job.*")} == {"job.dispatched", "job.cancelled"}
    cancelled = client.get(EVENTS, params=[("tenant", "acme"), ("topic", "job.cancelled"), ("topic", "tenant.*")])
    assert {json.loads(line)["topic"] for line in cancelled.text.splitlines()} == {"job.cancelled", "tenant.created"}
    assert recorded(client, "acme", actor="nobody") == []


@pytest.mark.parametrize("form", ["csv", "cloudevents"])
def test_other_formats(client: httpx.Client, form: str) -> None:
    """CSV with a header, CloudEvents 1.0."""
    client.post("/v1/tenants/acme/jobs", json={"type": "number.double", "payload": {"number": 4}})
    params = {"tenant": "acme", "format": form, "bodies": "true", "topic": "job.dispatched"}
    answered = client.get(EVENTS, params=params)
    export = export_of(client, answered)
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(answered.text, newline="")))
        assert {row["topic"] for row in rows} == {"job.dispatched"} and rows[-1]["body"] == '{"number":4}'
        assert answered.headers["Content-Type"].startswith("text/csv")
    else:
        rows = [json.loads(line) for line in answered.text.splitlines()]
        assert {(row["specversion"], row["type"]) for row in rows} == {("1.0", "job.dispatched")}
    assert export["ended"] == {**export["ended"], "events": len(rows)}  # type: ignore[dict-item]
    assert (export["format"], export["bodies"]) == (form, True)


def test_what_is_taken_in_part_is_seen_to_be(server: RunningServer, client: httpx.Client) -> None:
    """Whoever hangs up leaves an export without an end."""
    with Ledger.open(server.database) as ledger:
        ledger.dispatch_many([Dispatch("number.double", {"number": n}, "acme") for n in range(20_000)])
    with client.stream("GET", EVENTS, params={"tenant": "acme"}, headers={"Accept-Encoding": "identity"}) as answered:
        first = next(answered.iter_bytes())
        assert first
    export = export_of(client, answered)
    assert export["ended"] is None


def test_the_installation_has_events_of_its_own(client: httpx.Client) -> None:
    """Of the tenant `system`: keys, refusals, views."""
    assert "api_key.created" in {event["topic"] for event in recorded(client, "system")}


@pytest.mark.parametrize(
    ("params", "status", "code", "field"),
    [
        ({}, 422, "invalid_input", "query.tenant"),
        ({"tenant": "nobody"}, 404, "unknown_tenant", "query.tenant"),
        ({"tenant": "acme", "topic": "job.eaten"}, 422, "invalid_input", "query.topic"),
        ({"tenant": "acme", "format": "xml"}, 422, "invalid_input", "query.format"),
        ({"tenant": "acme", "from": "yesterday"}, 422, "invalid_input", "query.from"),
        (
            {"tenant": "acme", "from": "2026-03-02T00:00:00Z", "to": "2026-03-01T00:00:00Z"},
            422,
            "invalid_input",
            "query.to",
        ),
        ({"tenant": "acme", "from": "0001-01-01T00:00:00Z"}, 422, "invalid_input", "query.from"),
    ],
)
def test_what_is_wrong_with_an_export_is_named(
    client: httpx.Client, params: dict[str, str], status: int, code: str, field: str | None
) -> None:
    """Before anything is recorded."""
    exports = len(recorded(client, "acme", topic="audit.export_begun"))
    problem = client.get(EVENTS, params=params).json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert field is None or problem["field"] == field
    assert len(recorded(client, "acme", topic="audit.export_begun")) == exports + 1  # the look before


def test_an_export_that_is_not_there(client: httpx.Client) -> None:
    """Nor is another tenant's."""
    answered = client.get(EVENTS, params={"tenant": "acme", "topic": "tenant.*"})
    place = f"/v1/audit/exports/{answered.headers['Jobledger-Export-Id']}"
    assert client.get(place, params={"tenant": "other"}).json()["code"] == "not_found"
    nobodys = "/v1/audit/exports/0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f"
    assert client.get(nobodys, params={"tenant": "acme"}).status_code == 404


def test_what_people_did_comes_in_pages(client: httpx.Client) -> None:
    """Oldest first; a cursor opens the next page of the same list, and of no other."""
    for _ in range(3):
        job = client.post("/v1/tenants/acme/jobs", json={"type": "number.double"}).headers["Location"]
        client.post(f"{job}/cancel", json=WHY)
    acts: list[dict[str, object]] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/v1/audit/actions", params={"tenant": "acme", "limit": 2, **cursor}).json()
        acts += page["acts"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    cancelled = [act for act in acts if act["act"] == "cancelled"]
    assert len(cancelled) >= 3
    assert {(act["actor"], act["reason"], act["tenant"]) for act in cancelled} == {
        ("key:admin", "a customer asks", "acme")
    }
    assert [act["event_id"] for act in acts] == list(dict.fromkeys(act["event_id"] for act in acts))
    foreign = client.get("/v1/audit/actions", params={"tenant": "other", **cursor}).json()
    assert foreign["field"] == "query.cursor"
    everybodys = client.get("/v1/audit/actions", params={"limit": 500}).json()["acts"]
    assert {"acme", "other"} <= {act["tenant"] for act in everybodys}
    assert client.get("/v1/audit/actions", params={"actor": "nobody"}).json()["acts"] == []


def test_only_auditors_look_and_refusals_are_recorded(server: RunningServer, client: httpx.Client) -> None:
    """Of their tenants; payloads are a permission of their own."""
    operator = key_for(client, "operator")
    with server.client(operator.credential) as asking:
        assert asking.get(EVENTS, params={"tenant": "acme"}).json()["code"] == "not_permitted"
        assert asking.get("/v1/audit/actions").status_code == 403
    said = [(one["facts"]["asked"], one["facts"]["permission"]) for one in refusals(client, operator.identity)]
    assert said == [("BeginExport", "audit.read"), ("ListManualActs", "audit.read")]
    auditor = key_for(client, "auditor", tenants=["acme"])
    with server.client(auditor.credential, **{"X-Request-Id": "audit-7"}) as asking:
        assert asking.get(EVENTS, params={"tenant": "acme"}).status_code == 200
        assert asking.get(EVENTS, params={"tenant": "acme", "bodies": "true"}).status_code == 403
        assert asking.get("/v1/audit/actions", params={"tenant": "acme"}).status_code == 200
        assert asking.get("/v1/audit/actions").status_code == 403
        for tenant in ("other", "nobody", "system"):
            assert asking.get(EVENTS, params={"tenant": tenant}).json()["code"] == "unknown_tenant"
    records = refusals(client, auditor.identity)
    assert [(one["facts"]["permission"], one["facts"]["tenant_claimed"]) for one in records] == [
        ("payloads.read", "acme"), ("audit.read", ""), ("audit.read", "other"), ("audit.read", "nobody"),
        ("audit.read", "system"),
    ]  # fmt: skip
    assert {(one["request_id"], one["address"]) for one in records} == {("audit-7", "127.0.0.1")}
