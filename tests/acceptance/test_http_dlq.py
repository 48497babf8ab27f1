"""The dead-letter queue over HTTP: looked at, and emptied job by job or by filter."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from tests.support.http_dead import die, worker_of
from tests.support.http_keys import key_for, recorded, refusals
from tests.support.server import RunningServer
from tests.support.waiting import until

from .http_server import client, server

__all__ = ["client", "server"]

DLQ = "/v1/tenants/acme/dlq"
JOBS = "/v1/tenants/acme/jobs"
WHY = {"reason": "gateway fixed", "ticket": "OPS-12"}


@pytest.fixture
def worker(server: RunningServer, client: httpx.Client) -> Iterator[httpx.Client]:
    """Who takes jobs, and fails."""
    with worker_of(server, client) as worker:
        yield worker


@pytest.fixture
def queue() -> str:
    """A queue of this test's own."""
    return f"q{uuid4().hex[:12]}"


def ended(client: httpx.Client, location: str) -> dict[str, object]:
    """An operation, once it is over."""
    until(lambda: client.get(location).json()["status"] != "running", "the operation does not end")
    answer: dict[str, object] = client.get(location).json()
    return answer


# --- looked at -------------------------------------------------------------------------------------------------------


def test_each_filter_of_the_list(client: httpx.Client, worker: httpx.Client, queue: str) -> None:
    """Type, kind, queue, persona, cause, error, fingerprint, when they died; the count says the same."""
    first, _ = die(client, worker, 2, queue=queue, persona="billing-bot")
    (other,) = die(client, worker, queue=queue, persona="mail-bot", error_type="Timeout")

    def found(**where: str) -> set[str]:
        rows = client.get(DLQ, params={"queue": queue, **where}).json()["jobs"]
        counted = client.get(f"{DLQ}/count", params={"queue": queue, **where}).json()
        assert counted["count"] == len(rows)
        return {row["job_id"] for row in rows}

    assert len(found()) == 3
    assert found(persona="mail-bot") == found(error_type="Timeout") == {other}
    row = next(row for row in client.get(DLQ, params={"queue": queue}).json()["jobs"] if row["job_id"] == first)
    assert first in found(fingerprint=row["fingerprint"]) and other not in found(fingerprint=row["fingerprint"])
    assert len(found(type="number.double", kind="work", cause="unrecoverable")) == 3
    assert found(cause="stalled") == found(kind="ai") == found(type="no.such") == set()
    assert first not in found(until=row["dead_at"]) and first in found(since=row["dead_at"])
    assert found(since="2999-01-01T00:00:00Z") == set()


def test_the_list_comes_in_pages(client: httpx.Client, worker: httpx.Client, queue: str) -> None:
    """Most recently dead first; a cursor opens the next page of the same list, and of no other."""
    died = die(client, worker, 3, queue=queue)
    pages: list[list[str]] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get(DLQ, params={"queue": queue, "limit": 2, **cursor}).json()
        pages.append([row["job_id"] for row in page["jobs"]])
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert pages == [[died[2], died[1]], [died[0]]]
    for foreign in ({"limit": "2", **cursor}, {"queue": queue, "cursor": "bm9uZQ"}):
        problem = client.get(DLQ, params=foreign).json()
        assert (problem["status"], problem["field"]) == (422, "query.cursor")


def test_why_a_job_is_dead(client: httpx.Client, worker: httpx.Client, queue: str) -> None:
    """Attempt by attempt; payload and traceback where they are asked for, which is recorded."""
    (job_id,) = die(client, worker, queue=queue)
    dead = client.get(f"{DLQ}/{job_id}")
    assert dead.headers["ETag"] == f'"{dead.json()["version"]}"'
    assert (dead.json()["cause"], dead.json()["error_type"]) == ("unrecoverable", "GatewayDown")
    assert (dead.json()["payload"], dead.json()["traceback"]) == (None, None)
    (attempt,) = dead.json()["attempts"]
    assert (attempt["ending"], attempt["error"]) == ("failed", "GatewayDown: no answer")
    seen = client.get(f"{DLQ}/{job_id}", params={"bodies": "true"}).json()
    assert (seen["payload"], seen["traceback"]) == ({"number": 0}, "line 1\nline 2")
    reads = recorded(client, "acme", topic="audit.bodies_read")
    assert [read["actor"] for read in reads if read["facts"]["job_id"] == job_id] == ["key:admin"]


@pytest.mark.parametrize("path", [DLQ, f"{DLQ}/count"])
@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"cause": "bored"}, "query.cause"),
        ({"kind": "idle"}, "query.kind"),
        ({"since": "yesterday"}, "query.since"),
        ({"queue": ""}, "query.queue"),
        ({"error_type": "a\x00b"}, "query.error_type"),
        ({"after": "nonsense"}, "query.after"),
    ],
)
def test_a_wrong_filter_is_named(client: httpx.Client, path: str, params: dict[str, str], field: str) -> None:
    """By the parameter's name."""
    problem = client.get(path, params=params).json()
    assert (problem["code"], problem["field"]) == ("invalid_input", field)


# --- one job ---------------------------------------------------------------------------------------------------------


def test_a_dead_job_is_requeued(client: httpx.Client, worker: httpx.Client, queue: str) -> None:
    """With reason, ticket and attempts; once."""
    (job_id,) = die(client, worker, queue=queue)
    assert client.post(f"{JOBS}/{job_id}/requeue", json={}).json()["code"] == "reason_required"
    done = client.post(f"{JOBS}/{job_id}/requeue", json={**WHY, "attempts": 3})
    assert (done.status_code, done.json()["status"]) == (200, "pending")
    assert done.headers["ETag"] == f'"{done.json()["version"]}"'
    (requeued,) = [e for e in recorded(client, "acme", topic="job.requeued") if e["stream_id"] == job_id]
    assert (requeued["facts"]["ticket"], requeued["facts"]["attempts_granted"]) == ("OPS-12", 3)
    again = client.post(f"{JOBS}/{job_id}/requeue", json=WHY)
    assert (again.status_code, again.json()["code"]) == (409, "illegal_transition")
    client.post(f"{JOBS}/{job_id}/cancel", json=WHY)


def test_whoever_edits_a_payload_says_what_they_saw(client: httpx.Client, worker: httpx.Client, queue: str) -> None:
    """Without If-Match 428, with a version that is no more 412; then its history has the places that changed."""
    (job_id,) = die(client, worker, queue=queue)
    place, edit = f"{JOBS}/{job_id}/requeue", {**WHY, "put": {"/number": 42}}
    problem = client.post(place, json=edit).json()
    assert (problem["status"], problem["code"], problem["field"]) == (428, "precondition_required", "header.If-Match")
    late = client.post(place, json=edit, headers={"If-Match": '"1"'})
    assert (late.status_code, late.json()["code"]) == (412, "version_conflict")
    seen = client.get(f"{DLQ}/{job_id}").headers["ETag"]
    wrong = client.post(place, json={**WHY, "put": {"/number": "many"}}, headers={"If-Match": seen}).json()
    assert (wrong["status"], wrong["field"]) == (422, "payload.number")
    both = client.post(place, json={**edit, "payload": {"number": 1}}, headers={"If-Match": seen})
    assert both.status_code == 422
    assert client.post(place, json=edit, headers={"If-Match": seen}).status_code == 200
    assert client.get(f"{JOBS}/{job_id}", params={"payload": "true"}).json()["payload"] == {"number": 42}
    client.post(f"{JOBS}/{job_id}/cancel", json=WHY)


def test_a_dead_job_is_discarded(client: httpx.Client, worker: httpx.Client, queue: str) -> None:
    """For good, and as it was seen."""
    (job_id,) = die(client, worker, queue=queue)
    late = client.post(f"{JOBS}/{job_id}/discard", json=WHY, headers={"If-Match": '"1"'})
    assert late.json()["code"] == "version_conflict"
    done = client.post(f"{JOBS}/{job_id}/discard", json=WHY)
    assert (done.status_code, done.json()["status"]) == (200, "discarded")
    assert client.get(f"{DLQ}/{job_id}").json()["code"] == "invalid_input"


# --- many jobs -------------------------------------------------------------------------------------------------------


def test_what_a_filter_matches_is_counted_confirmed_and_requeued(
    client: httpx.Client, worker: httpx.Client, queue: str
) -> None:
    """The count changes nothing; the act is an operation, whose end says what became of the jobs."""
    die(client, worker, 3, queue=queue)
    dry = client.post(f"{DLQ}/requeue", json={"filter": {"queue": queue}, "dry_run": True})
    seen = dry.json()
    assert (dry.status_code, seen["count"], len(seen["sample"])) == (200, 3, 3)
    assert seen["groups"] == [
        {"jobs": 3, "type": "number.double", "cause": "unrecoverable", "error_type": "GatewayDown"}
    ]
    die(client, worker, 1, queue=queue)  # since the count
    body = {"filter": {"queue": queue, "until": seen["until"]}, **WHY, "attempts": 2, "expected_count": 3}
    begun = client.post(f"{DLQ}/requeue", json=body)
    assert begun.status_code == 202
    operation = ended(client, begun.headers["Location"])
    assert (operation["operation_id"], operation["kind"]) == (begun.json()["operation_id"], "dlq.requeue")
    assert operation["status"] == "succeeded"
    assert operation["progress"] == {"done": 3, "total": 3, "state": None, "fraction": None}
    assert (operation["actor"], operation["reason"], operation["problem"]) == ("key:admin", "gateway fixed", None)
    result = operation["result"]
    assert isinstance(result, dict)
    assert (result["changed"], result["skipped"], result["refused"], result["troubles"]) == (3, 0, 0, [])
    assert client.get(f"{DLQ}/count", params={"queue": queue}).json()["count"] == 1
    (act, *_) = client.get(f"{DLQ}/acts").json()["acts"]
    assert (act["event_id"], act["ticket"], act["finished"]) == (operation["operation_id"], "OPS-12", True)


def test_all_that_are_dead_now_are_discarded(client: httpx.Client, worker: httpx.Client, queue: str) -> None:
    """Without `until`, what is dead when it is asked is meant."""
    die(client, worker, 2, queue=queue)
    begun = client.post(f"{DLQ}/discard", json={"filter": {"queue": queue}, **WHY, "expected_count": 2})
    assert ended(client, begun.headers["Location"])["status"] == "succeeded"
    assert client.get(f"{DLQ}/count", params={"queue": queue}).json() | {"freshness": 0} == {
        "tenant": "acme", "count": 0, "groups": [], "group_count": 0, "first_dead_at": None, "last_dead_at": None,
        "until": None, "sample": [], "freshness": 0,
        "filter": {
            "type": None, "kind": None, "queue": queue, "persona": None, "cause": None, "error_type": None,
            "fingerprint": None, "since": None, "until": None,
        },
    }  # fmt: skip


def test_nothing_is_done_to_many_that_was_not_confirmed(client: httpx.Client, worker: httpx.Client, queue: str) -> None:
    """No count, too small a count, no reason: refused before anything happens."""
    die(client, worker, 2, queue=queue)
    acts = len(client.get(f"{DLQ}/acts").json()["acts"])
    where = {"filter": {"queue": queue}}
    until_now = {"filter": {"queue": queue, "until": "2999-01-01T00:00:00Z"}}
    for body, status, code, field in (
        ({**where, **WHY}, 409, "not_confirmed", "expected_count"),
        ({**where, **WHY, "expected_count": 1}, 409, "count_changed", "expected_count"),
        ({**until_now, **WHY, "expected_count": 1}, 409, "count_changed", "expected_count"),
        ({**where, "expected_count": 2}, 422, "reason_required", "reason"),
        ({**where, **WHY, "expected_count": 0}, 422, "invalid_input", "expected_count"),
        ({"filter": {"colour": "red"}, **WHY}, 422, "invalid_input", "filter.colour"),
        ({"filter": {"type": "a\x00b"}, **WHY}, 422, "invalid_input", "filter.type"),
        (WHY, 422, "invalid_input", "filter"),
    ):
        for act in ("requeue", "discard"):
            problem = client.post(f"{DLQ}/{act}", json=body).json()
            assert (problem["status"], problem["code"], problem["field"]) == (status, code, field)
    assert client.get(f"{DLQ}/count", params={"queue": queue}).json()["count"] == 2
    assert len(client.get(f"{DLQ}/acts").json()["acts"]) == acts


def test_an_operation_of_nobody_is_not_found(client: httpx.Client, worker: httpx.Client, queue: str) -> None:
    """One that never was, another tenant's, one of a queue that is not named."""
    die(client, worker, 1, queue=queue)
    begun = client.post(f"{DLQ}/discard", json={"filter": {"queue": queue}, **WHY, "expected_count": 1}).json()
    for path in (
        "/v1/tenants/acme/operations/none", f"/v1/tenants/other/operations/{begun['operation_id']}",
        f"/v1/tenants/acme/operations/{begun['operation_id']}?queue=mail",
    ):  # fmt: skip
        assert (client.get(path).status_code, client.get(path).json()["code"]) == (404, "not_found")
    assert client.get(f"/v1/tenants/nobody/operations/{begun['operation_id']}").json()["code"] == "unknown_tenant"


# --- who may ---------------------------------------------------------------------------------------------------------


def test_requeueing_is_a_permission_of_its_own(
    server: RunningServer, client: httpx.Client, worker: httpx.Client, queue: str
) -> None:
    """An operator may discard, and requeue where that was granted by name; each refusal is on record."""
    (job_id,) = die(client, worker, queue=queue)
    plain = key_for(client, "operator", tenants=["acme"])
    with server.client(plain.credential, **{"X-Request-Id": "op-7"}) as operator:
        assert operator.post(f"{JOBS}/{job_id}/requeue", json=WHY).json()["code"] == "not_permitted"
        body = {"filter": {"queue": queue}, **WHY, "expected_count": 1}
        assert operator.post(f"{DLQ}/requeue", json=body).status_code == 403
        assert operator.get(f"{DLQ}/{job_id}", params={"bodies": "true"}).status_code == 403
        assert operator.get(f"{DLQ}/{job_id}").status_code == 200
    said = [(one["facts"]["asked"], one["facts"]["permission"]) for one in refusals(client, plain.identity)]
    assert said == [
        ("RequeueJob", "dlq.requeue"), ("RequeueDlq", "dlq.requeue"), ("GetDeadJob", "payloads.read"),
    ]  # fmt: skip
    assert {(one["request_id"], one["address"]) for one in refusals(client, plain.identity)} == {("op-7", "127.0.0.1")}
    granted = key_for(client, "operator", tenants=["acme"], extra=["dlq.requeue"])
    with server.client(granted.credential) as operator:
        assert operator.post(f"{JOBS}/{job_id}/requeue", json=WHY).status_code == 200
    client.post(f"{JOBS}/{job_id}/cancel", json=WHY)


def test_whoever_is_for_one_queue_empties_that_one(
    server: RunningServer, client: httpx.Client, worker: httpx.Client, queue: str
) -> None:
    """It names the queue, and follows the operation where it was told to."""
    die(client, worker, 1, queue=queue)
    key = key_for(client, "operator", tenants=["acme"], queues=[queue])
    with server.client(key.credential) as operator:
        assert operator.get(DLQ).status_code == 403
        assert operator.post(f"{DLQ}/discard", json={"filter": {}, **WHY, "expected_count": 9}).status_code == 403
        assert len(operator.get(DLQ, params={"queue": queue}).json()["jobs"]) == 1
        begun = operator.post(f"{DLQ}/discard", json={"filter": {"queue": queue}, **WHY, "expected_count": 1})
        assert ended(operator, begun.headers["Location"])["status"] == "succeeded"


def test_another_tenants_dead_are_nobodys(
    server: RunningServer, client: httpx.Client, worker: httpx.Client, queue: str
) -> None:
    """The same answers as for a tenant, and for a job, that do not exist."""
    (job_id,) = die(client, worker, queue=queue, tenant="other")
    key = key_for(client, "admin", tenants=["acme"])

    def answers(tenant: str) -> list[object]:
        with server.client(key.credential) as stranger:
            dlq, bulk = f"/v1/tenants/{tenant}/dlq", {"filter": {}, **WHY, "expected_count": 1}
            told = [
                stranger.get(dlq), stranger.get(f"{dlq}/count"), stranger.get(f"{dlq}/{job_id}"),
                stranger.get(f"{dlq}/acts"), stranger.get(f"/v1/tenants/{tenant}/operations/x.1"),
                stranger.post(f"{dlq}/requeue", json=bulk), stranger.post(f"{dlq}/discard", json=bulk),
                stranger.post(f"/v1/tenants/{tenant}/jobs/{job_id}/requeue", json=WHY),
                stranger.post(f"/v1/tenants/{tenant}/jobs/{job_id}/discard", json=WHY),
            ]  # fmt: skip
        return [
            (one.status_code, one.text.replace(tenant, "T").replace(one.headers["X-Request-Id"], "")) for one in told
        ]

    assert answers("other") == answers("ghost")
    assert client.post(f"{JOBS}/{job_id}/requeue", json=WHY).json()["code"] == "not_found"
    client.post(f"/v1/tenants/other/jobs/{job_id}/discard", json=WHY)
