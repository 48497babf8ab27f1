"""Lists of jobs over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.server import RunningServer

from .http_server import client, server

__all__ = ["client", "server"]

TENANT = "/v1/tenants/acme"
Dispatch = Callable[..., dict[str, Any]]
_personas = (f"lists-{number}" for number in count())


@pytest.fixture
def persona() -> str:
    """A persona of the test's own: servers are shared."""
    return next(_personas)


@pytest.fixture
def dispatch(client: httpx.Client, persona: str) -> Dispatch:
    """Dispatches a job of the persona."""

    def dispatched(**about: object) -> dict[str, Any]:
        answered = client.post(f"{TENANT}/jobs", json={"type": "number.double", "persona": persona, **about})
        assert answered.status_code == 201, answered.text
        answer: dict[str, Any] = answered.json()
        return answer

    return dispatched


def pages(client: httpx.Client, path: str, **params: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """All pages of a list."""
    cursor = None
    while True:
        answered = client.get(path, params={**params, **({"cursor": cursor} if cursor else {})})
        assert answered.status_code == 200, answered.text
        page = answered.json()
        yield page
        cursor = page["next_cursor"]
        if cursor is None:
            return


def test_a_list_holds_what_was_written_before_its_position(
    client: httpx.Client, dispatch: Dispatch, persona: str
) -> None:
    """With `after`, the dispatched job is in the list, newest first, and the list says how current it is."""
    first, second = dispatch(), dispatch()
    listed = client.get(f"{TENANT}/personas/{persona}/jobs", params={"after": second["position"]}).json()
    assert [row["job_id"] for row in listed["jobs"]] == [second["job_id"], first["job_id"]]
    assert listed["jobs"][0]["status"] == "pending"
    read, written = (each["position"].partition(".") for each in (listed["freshness"], second))
    assert read[0] == written[0] and int(read[2]) >= int(written[2])
    newest = client.get(f"{TENANT}/jobs", params={"after": second["position"], "limit": 1}).json()
    assert [row["job_id"] for row in newest["jobs"]] == [second["job_id"]]


def test_filters_choose(client: httpx.Client, dispatch: Dispatch, persona: str) -> None:
    """By status, type, kind, queue, failure and time of birth."""
    plain, elsewhere = dispatch(), dispatch(queue="slow", type="number.refuse")
    later = dispatch(delay_seconds=3600)
    created = client.get(f"{TENANT}/jobs/{elsewhere['job_id']}").json()["created_at"]

    def found(**filters: object) -> set[str]:
        params: dict[str, Any] = {"after": later["position"], **filters}
        answered = client.get(f"{TENANT}/personas/{persona}/jobs", params=params)
        assert answered.status_code == 200, answered.text
        return {row["job_id"] for row in answered.json()["jobs"]}

    everything = {job["job_id"] for job in (plain, elsewhere, later)}
    assert found(status="delayed") == {later["job_id"]}
    assert found(queue="slow") == found(type="number.refuse") == {elsewhere["job_id"]}
    assert found(created_from=created) == {elsewhere["job_id"], later["job_id"]}
    assert found(created_to=created) == {plain["job_id"]}
    assert found(kind="work", failed="false") == everything
    assert found(failed="true") == found(kind="ai") == set()


def test_pages_are_complete_while_rows_move(client: httpx.Client, dispatch: Dispatch, persona: str) -> None:
    """Each job that was there when the list was begun is on exactly one page, whatever happens meanwhile."""
    jobs = [dispatch() for _ in range(25)]
    seen: list[str] = []
    path = f"{TENANT}/personas/{persona}/jobs"
    for page in pages(client, path, after=jobs[-1]["position"], limit=4):
        seen += [row["job_id"] for row in page["jobs"]]
        dispatch()
        client.post(f"{TENANT}/jobs/{seen[-1]}/cancel", json={"reason": "moves in the lists"})
    assert seen == [job["job_id"] for job in reversed(jobs)]


def test_a_list_as_it_was(client: httpx.Client, dispatch: Dispatch, persona: str) -> None:
    """With `as_of` jobs have the status that they had then, and those that came later are not there."""
    job = dispatch()
    then = client.get(f"{TENANT}/jobs/{job['job_id']}").json()["created_at"]
    client.post(f"{TENANT}/jobs/{job['job_id']}/cancel", json={"reason": "later"})
    last = dispatch()
    answered = client.get(
        f"{TENANT}/personas/{persona}/jobs", params={"as_of": then, "after": last["position"], "status": "pending"}
    )
    listed = answered.json()
    assert [(row["job_id"], row["status"]) for row in listed["jobs"]] == [(job["job_id"], "pending")]
    assert (listed["past"]["as_of"], listed["past"]["scanned"]) == (then, 1)


def test_a_cursor_is_for_the_list_that_gave_it(client: httpx.Client, dispatch: Dispatch, persona: str) -> None:
    """Changed, of other filters, of another persona or tenant it is refused, and says nothing of what is in it."""
    last = [dispatch() for _ in range(3)][-1]
    path, params = f"{TENANT}/personas/{persona}/jobs", {"limit": 1, "after": last["position"]}
    cursor = client.get(path, params=params).json()["next_cursor"]
    assert client.get(path, params={**params, "cursor": cursor, "limit": 2}).status_code == 200
    tampered = cursor[:-2] + ("AA" if cursor[-2:] != "AA" else "BB")
    for where, about in (
        (path, {"cursor": tampered}), (path, {"cursor": "x"}), (path, {"cursor": "é\x00"}),
        (path, {"cursor": cursor, "status": "pending"}), (f"{TENANT}/jobs", {"cursor": cursor}),
        (path.replace("acme", "other"), {"cursor": cursor}),
        (path, {"cursor": cursor, "as_of": "2026-01-01T00:00:00Z"}),
    ):  # fmt: skip
        refused = client.get(where, params={**params, **about})
        problem = refused.json()
        assert (refused.status_code, problem["code"], problem["field"]) == (422, "invalid_input", "query.cursor"), about


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": "0"}, "query.limit"),
        ({"limit": "501"}, "query.limit"),
        ({"status": "lost"}, "query.status"),
        ({"kind": "magic"}, "query.kind"),
        ({"created_from": "yesterday"}, "query.created_from"),
        ({"created_from": "2026-01-01T00:00:00"}, "query.created_from"),
        ({"as_of": "0001-01-01T00:00:00+14:00"}, "query.as_of"),
        ({"as_of": "1767225600"}, "query.as_of"),
        ({"after": "nowhere"}, "query.after"),
        ({"after": "other.1"}, "query.after"),
        ({"after": "other." + "9" * 5_000}, "query.after"),
    ],
)
def test_what_is_wrong_with_a_list_is_named(client: httpx.Client, params: dict[str, str], field: str) -> None:
    """422, with the parameter."""
    refused = client.get(f"{TENANT}/jobs", params=params)
    assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (422, "invalid_input", field)


def test_a_position_that_was_never_given_out_is_not_waited_for(client: httpx.Client, dispatch: Dispatch) -> None:
    """422 at once: nobody's thread waits for what nobody wrote, by a list, by statistics or by a stream."""
    prefix = dispatch()["position"].rpartition(".")[0]
    for path in ("jobs", "dlq", "statistics", "events"):
        refused = client.get(f"{TENANT}/{path}", params={"after": f"{prefix}.{1 << 61}"})
        assert (refused.status_code, refused.json()["field"]) == (422, "query.after"), path


@pytest.mark.parametrize(("path", "name"), [("jobs", "stauts"), ("jobs", "failed[]"), ("dlq", "offset"), ("", "a")])
def test_a_parameter_that_is_not_there_is_refused(client: httpx.Client, path: str, name: str) -> None:
    """422, named, before anything is looked up: one that is misspelt would change the question."""
    place = f"{TENANT}/{path}" if path else "/v1/tenants"
    refused = client.get(place, params={name: "1"})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert refused.json()["field"] == f"query.{name}" and refused.json()["hint"]


def test_lists_of_nobody(client: httpx.Client, server: RunningServer) -> None:
    """A tenant that does not exist is 404, one whose name cannot be is 422, and without a key it is 401."""
    assert client.get("/v1/tenants/nobody/jobs").json()["code"] == "unknown_tenant"
    impossible = client.get("/v1/tenants/Nobody!/jobs")
    assert (impossible.status_code, impossible.json()["field"]) == (422, "path.tenant")
    assert httpx.get(f"{server.url}{TENANT}/jobs").status_code == 401
    assert client.get(f"{TENANT}/personas/nobody/jobs").json()["jobs"] == []


def test_the_trace_of_a_request(client: httpx.Client, dispatch: Dispatch, persona: str) -> None:
    """Its jobs in the order of their birth, in pages, and what was refused of it; of an unknown one 404."""
    jobs = [dispatch(correlation_id=f"order-{persona}") for _ in range(3)]
    client.post(f"{TENANT}/jobs", json={"type": "number.triple", "correlation_id": f"order-{persona}"})
    last = dispatch()
    path = f"{TENANT}/traces/order-{persona}"
    seen = list(pages(client, path, limit=2, after=last["position"]))
    assert [job["job_id"] for page in seen for job in page["jobs"]] == [job["job_id"] for job in jobs]
    assert [refused["code"] for refused in seen[0]["refused"]] == ["unknown_job_type"]
    cursor = seen[0]["next_cursor"]
    assert client.get(f"{TENANT}/traces/another", params={"cursor": cursor}).json()["field"] == "query.cursor"
    unknown = client.get(f"{TENANT}/traces/unheard-of")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("name", ["a/b", "/", "/a//b/", "a\nb", "a\n", "a?b#c", "a%2Fb", "çà et là", "pause"])
def test_a_request_has_any_name(client: httpx.Client, dispatch: Dispatch, name: str) -> None:
    """What a job may be dispatched with can be asked for."""
    job = dispatch(correlation_id=name)
    traced = client.get(f"{TENANT}/traces/{quote(name, safe='')}", params={"after": job["position"]})
    assert [row["job_id"] for row in traced.json()["jobs"]] == [job["job_id"]]


@pytest.mark.parametrize(
    "path",
    [
        "/jobs?queue=a%00b", "/jobs?type=a%00b", "/jobs?queue=%F0%9F%98%80", "/jobs?type=%FF", "/jobs?limit=1&limit=2",
        "/personas/a%00b/jobs", "/personas/%FF/jobs", "/traces/a%00b", "/traces/%FF", "/jobs?kind=", "/jobs?cursor=",
        "/personas/x%00/jobs?as_of=2026-01-01T00:00:00Z", "/jobs?queue=a%00b&as_of=2026-01-01T00:00:00Z",
        "/statistics?since=9999-12-31T23:59:59-14:00", "/statistics?until=0001-01-01T00:00:00%2B14:00",
        "/events?queue=a%00b&after=x", "/jobs?created_to=0001-01-01T00:00:00%2B14:00",
    ],
)  # fmt: skip
def test_whatever_is_asked_is_answered(client: httpx.Client, path: str) -> None:
    """With what no database holds in a text, and times at the edges: an answer, or a refusal, never trouble."""
    answered = client.get(f"{TENANT}{path}")
    assert answered.status_code in (200, 404, 422), answered.text


def test_no_position_is_too_long(client: httpx.Client, dispatch: Dispatch) -> None:
    """What is more than any ledger counts to is no position of it."""
    prefix = dispatch()["position"].rpartition(".")[0]
    for digits in ("9" * 19, "9" * 30, "9" * 5_000):
        for path, place in (("jobs", "query.after"), ("events", "query.after"), ("statistics", "query.after")):
            refused = client.get(f"{TENANT}/{path}", params={"after": f"{prefix}.{digits}"})
            assert (refused.status_code, refused.json()["field"]) == (422, place), (digits, path)
