"""Views over HTTP: how they stand, compared with the ledger, made anew."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from jobledger import Ledger
from jobledger.application.message import Actor
from jobledger.infrastructure.rebuilding import rebuild_ports
from jobledger.projections.beginning import Wanted, begin_or_join
from jobledger.projections.catalogue import PROJECTIONS
from jobledger.projections.shadow import Purpose, Scope
from tests.support.http_keys import key_for, recorded, refusals
from tests.support.server import RunningServer, running_server
from tests.support.waiting import until

from .http_server import client, server

__all__ = ["client", "server"]

VIEW = "tenant_jobs"
PLACE = f"/v1/projections/{VIEW}"
WHY = {"reason": "INC-9: somebody edited a row"}


def ended(client: httpx.Client, begun: httpx.Response) -> dict[str, Any]:
    """An operation, once it is over."""
    assert begun.status_code == 202, begun.text
    location = begun.headers["Location"]
    assert location == f"/v1/operations/{begun.json()['operation_id']}"
    until(lambda: client.get(location).json()["status"] != "running", "the operation does not end")
    operation: dict[str, Any] = client.get(location).json()
    if operation["status"] == "succeeded":
        swapped = operation["result"]["swapped"]
        assert operation["progress"]["fraction"] == 1.0, operation
        assert operation["progress"]["state"] == ("swapped" if swapped else "compared"), operation
    return operation


def dispatched(client: httpx.Client) -> str:
    """A job that the list shows."""
    made = client.post("/v1/tenants/acme/jobs", json={"type": "number.double"}).json()
    listed = client.get("/v1/tenants/acme/jobs", params={"after": made["position"], "limit": 1})
    assert listed.status_code == 200, listed.text
    job_id: str = made["job_id"]
    return job_id


def damage(database: str, job_id: str) -> None:
    """Edit a row by hand, as somebody with a database client does."""
    if database.startswith("sqlite"):
        edit = f"UPDATE {VIEW} SET priority = 77 WHERE job_id = ?"
        with closing(sqlite3.connect(database.removeprefix("sqlite:///"))) as file, file:
            assert file.execute(edit, (UUID(job_id).bytes,)).rowcount == 1
        return
    with psycopg.connect(database) as connection:
        edit = f"UPDATE jobledger.{VIEW} SET priority = 77 WHERE job_id = %s"
        assert connection.execute(edit.encode(), (UUID(job_id),)).rowcount == 1


def abandoned(database: str, purpose: Purpose = Purpose.REBUILD) -> str:
    """A rebuild whose process died right after it had begun; its id."""
    with Ledger.open(database) as ledger:
        ports = rebuild_ports(ledger._handle, Actor(id="test:ana"))
        wanted = Wanted(uuid4(), PROJECTIONS[VIEW], purpose, Scope(), "test:ana", "a drill")
        return str(begin_or_join(ports, wanted).rebuild.rebuild_id)


def view(client: httpx.Client, name: str = VIEW) -> dict[str, Any]:
    """How a view stands."""
    views: list[dict[str, Any]] = client.get("/v1/projections").json()["views"]
    return {one["projection"]: one for one in views}[name]


# --- how they stand, and what is done to them ------------------------------------------------------------------------


def test_how_views_stand(client: httpx.Client) -> None:
    """All of them, and what can be read."""
    dispatched(client)
    answered = client.get("/v1/projections").json()
    assert {one["projection"] for one in answered["views"]} >= set(PROJECTIONS)
    assert (
        answered["others"] == [] and client.get("/v1/tenants/acme/jobs", params={"after": answered["head"]}).is_success
    )
    stands = view(client)
    assert (
        stands["position"].rpartition(".")[0] == answered["head"].rpartition(".")[0]
        and stands["fold_version"] == stands["fold_version_of_program"]
    )
    assert (stands["parked"], stands["rebuild"]) == (0, None)


def test_a_view_is_compared_with_the_ledger(client: httpx.Client) -> None:
    """Rows, digests, and nothing that differs."""
    dispatched(client)
    operation = ended(client, client.post(f"{PLACE}/verify", json={}))
    assert (operation["kind"], operation["status"]) == ("projection.verify", "succeeded")
    result = operation["result"]
    assert (result["projection"], result["differing"], result["swapped"]) == (VIEW, 0, False)
    assert result["rows_before"] == result["rows_after"] > 0
    assert result["digest_before"] == result["digest_after"]


def test_a_damaged_view_is_made_anew(server: RunningServer, client: httpx.Client) -> None:
    """What differed is named; the version that was replaced is kept until it is dropped; all of it is on record."""
    job_id = dispatched(client)
    damage(server.database, job_id)
    dry = ended(client, client.post(f"{PLACE}/rebuild", json={**WHY, "dry_run": True}))
    assert (dry["kind"], dry["result"]["differing"], dry["result"]["swapped"]) == ("projection.dry_run", 1, False)
    (difference,) = dry["result"]["differences"]
    assert (difference["columns"], difference["live"]["priority"]) == (["priority"], 77)
    rebuilt = ended(client, client.post(f"{PLACE}/rebuild", json={**WHY, "cores": 1.0}))
    assert (rebuilt["result"]["differing"], rebuilt["result"]["swapped"]) == (1, True)
    assert (rebuilt["actor"], rebuilt["reason"]) == ("key:admin", WHY["reason"])
    assert view(client)["previous_kept"] is True
    dropped = client.post(f"{PLACE}/drop-previous", json=WHY)
    assert (dropped.status_code, dropped.json()["projection"]) == (200, VIEW) and dropped.json()["rows"] > 0
    assert client.post(f"{PLACE}/drop-previous", json=WHY).json()["code"] == "not_found"
    events = recorded(client, "system", topic="projection.*", actor="key:admin")
    topics = [event["topic"].partition(".")[2] for event in events if event["facts"]["projection"] == VIEW]
    assert topics[-5:] == ["rebuild_begun", "rebuilt", "rebuild_begun", "rebuilt", "previous_dropped"]
    assert events[-1]["address"] == "127.0.0.1" and events[-1]["request_id"]


def test_one_tenants_and_one_jobs_rows(client: httpx.Client) -> None:
    """The rest of the view is left alone."""
    job_id = dispatched(client)
    for body, tenant, job in (
        ({"tenant": "acme"}, "acme", None),
        ({"tenant": "acme", "job_id": job_id}, "acme", job_id),
    ):
        result = ended(client, client.post(f"{PLACE}/verify", json=body))["result"]
        assert (result["tenant"], result["job_id"], result["differing"]) == (tenant, job, 0)
    assert result["rows_before"] == 1


def test_the_work_queue_is_compared_and_made_right(client: httpx.Client) -> None:
    """As a whole."""
    dispatched(client)
    verified = ended(client, client.post("/v1/projections/open_jobs/verify", json={}))
    assert (verified["status"], verified["result"]["differing"]) == ("succeeded", 0)
    rebuilt = ended(client, client.post("/v1/projections/open_jobs/rebuild", json=WHY))
    assert (rebuilt["result"]["purpose"], rebuilt["result"]["swapped"]) == ("rebuild", True)
    assert client.get(f"/v1/operations/{uuid4()}").json()["code"] == "not_found"


# --- rebuilds that others began --------------------------------------------------------------------------------------


def test_a_rebuild_that_nobody_works_on_is_gone_on_with(server: RunningServer, client: httpx.Client) -> None:
    """It is told as such; whoever asks for the same goes on with it, whoever asks for another is refused."""
    rebuild_id = abandoned(server.database)
    operation = client.get(f"/v1/operations/{rebuild_id}").json()
    assert (operation["status"], operation["actor"], operation["problem"]) == ("unattended", "test:ana", None)
    assert operation["progress"]["state"] == "filling" and view(client)["rebuild"]["rebuild_id"] == rebuild_id
    other = client.post(f"{PLACE}/verify", json={})
    assert (other.status_code, other.json()["code"], other.json()["field"]) == (409, "rebuild_under_way", "path.name")
    begun = client.post(f"{PLACE}/rebuild", json=WHY)
    assert begun.json()["operation_id"] == rebuild_id
    assert ended(client, begun)["result"]["resumed"] is True


def test_a_rebuild_is_given_up(server: RunningServer, client: httpx.Client) -> None:
    """With a reason; the operation says so. There is none to give up then."""
    rebuild_id = abandoned(server.database)
    assert client.post(f"{PLACE}/cancel", json={"reason": ""}).json()["code"] == "reason_required"
    cancelled = client.post(f"{PLACE}/cancel", json={"reason": "another day"})
    assert cancelled.json() == {"projection": VIEW, "rebuild_id": rebuild_id, "state": "cancelled"}
    operation = client.get(f"/v1/operations/{rebuild_id}").json()
    assert (operation["status"], operation["problem"]["code"]) == ("failed", "given_up")
    assert "another day" in operation["problem"]["detail"]
    again = client.post(f"{PLACE}/cancel", json=WHY)
    assert (again.status_code, again.json()["code"], again.json()["field"]) == (404, "not_found", "path.name")


def test_another_server_says_what_came_of_it(server: RunningServer, client: httpx.Client, tmp_path: Path) -> None:
    """From what is stored of the rebuild."""
    begun = client.post(f"{PLACE}/verify", json={})
    own = ended(client, begun)
    with running_server(server.database, tmp_path, key=server.key) as second, second.client() as other:
        told = other.get(begun.headers["Location"]).json()
    for name in ("operation_id", "kind", "status", "actor"):
        assert own[name] == told[name]
    for name in ("projection", "rows_before", "rows_after", "differing", "digest_before", "position"):
        assert own["result"][name] == told["result"][name]


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "field"),
    [
        (f"{PLACE}/rebuild", {}, 422, "reason_required", "reason"),
        ("/v1/projections/no_such/verify", {}, 404, "not_found", "path.name"),
        ("/v1/projections/no such/cancel", WHY, 404, "not_found", "path.name"),
        (f"{PLACE}/verify", {"cores": 2}, 422, "invalid_input", "cores"),
        (f"{PLACE}/verify", {"job_id": str(uuid4())}, 422, "invalid_input", "tenant"),
        (f"{PLACE}/verify", {"tenant": "nobody"}, 404, "unknown_tenant", "tenant"),
        (f"{PLACE}/verify", {"tenant": "acme", "job_id": str(uuid4())}, 404, "not_found", "job_id"),
        ("/v1/projections/queue_statistics/verify", {"tenant": "acme"}, 422, "invalid_input", "tenant"),
        ("/v1/projections/open_jobs/verify", {"tenant": "acme"}, 422, "invalid_input", "tenant"),
        ("/v1/projections/open_jobs/rebuild", {**WHY, "dry_run": True}, 422, "invalid_input", "dry_run"),
        ("/v1/projections/open_jobs/rebuild", {}, 422, "reason_required", "reason"),
    ],
)
def test_what_is_wrong_is_named(  # noqa: PLR0917 - the table's columns
    client: httpx.Client, path: str, body: dict[str, object], status: int, code: str, field: str
) -> None:
    """And nothing begins."""
    problem = client.post(path, json=body).json()
    assert (problem["status"], problem["code"], problem["field"]) == (status, code, field)
    assert view(client)["rebuild"] is None


def test_the_work_queue_is_not_made_anew_under_workers(server: RunningServer, client: httpx.Client) -> None:
    """They hold jobs by its rows."""
    with server.client(key_for(client, "worker").credential) as worker:
        worker.post("/v1/leases/claim", json={"worker": "w-1", "queues": ["nothing-here"]})
        problem = client.post("/v1/projections/open_jobs/rebuild", json=WHY).json()
        assert (problem["status"], problem["code"]) == (409, "illegal_transition") and "w-1" in problem["detail"]
        worker.post("/v1/leases/retire", json={"worker": "w-1"})


def test_views_are_everybodys(server: RunningServer, client: httpx.Client) -> None:
    """Whoever is for one tenant does not operate them, nor does an auditor; what they tried is on record."""
    for role, grant in (("operator", {"tenants": ["acme"]}), ("auditor", {})):
        key = key_for(client, role, **grant)
        with server.client(key.credential, **{"X-Request-Id": "stranger"}) as stranger:
            assert stranger.get("/v1/projections").json()["code"] == "not_permitted"
            assert stranger.get(f"/v1/operations/{uuid4()}").status_code == 403
            for verb in ("rebuild", "verify", "cancel", "drop-previous"):
                assert stranger.post(f"{PLACE}/{verb}", json=WHY).status_code == 403
        asked = [one["facts"]["asked"] for one in refusals(client, key.identity)]
        assert asked == ["BeginRebuild", "VerifyProjection", "CancelRebuild", "DropPrevious"]
        assert {one["request_id"] for one in refusals(client, key.identity)} == {"stranger"}


def test_a_server_whose_login_may_not(server: RunningServer, client: httpx.Client, tmp_path: Path) -> None:
    """It says why, instead of that the ledger does not answer. (SQLite has no logins.)"""
    if server.database.startswith("sqlite"):
        assert client.get("/v1/projections").status_code == 200
        return
    parts = urlsplit(server.database)
    with psycopg.connect(server.database, autocommit=True) as superuser:
        superuser.execute("DROP ROLE IF EXISTS http_api_only")
        superuser.execute("CREATE ROLE http_api_only LOGIN")
        superuser.execute("GRANT jobledger_api TO http_api_only")
    database = parts._replace(netloc=f"http_api_only@{parts.hostname or ''}").geturl()
    arguments = ("--no-projections", "--no-maintenance")
    with running_server(database, tmp_path, *arguments, key=server.key) as limited, limited.client() as asking:
        for answered in (
            asking.get("/v1/projections"), asking.post(f"{PLACE}/verify", json={}),
            asking.post(f"{PLACE}/rebuild", json=WHY), asking.post(f"{PLACE}/drop-previous", json=WHY),
        ):  # fmt: skip
            problem = answered.json()
            assert (answered.status_code, problem["code"]) == (503, "login_refused")
            assert "login to the database" in problem["detail"] and "jobledger projections" in problem["hint"]
        failed = ended(asking, asking.post("/v1/projections/open_jobs/verify", json={}))
        assert (failed["status"], failed["problem"]["code"]) == ("failed", "login_refused")
