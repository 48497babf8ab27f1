"""Programs behind PgBouncer in transaction mode: the HTTP API and the commands of an operator work, others refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.projecting import make_runner
from jobledger.infrastructure.service import publish_types
from jobledger.infrastructure.settings import load
from tests.support.cli import Cli
from tests.support.http_app import app
from tests.support.pgbouncer import pgbouncer
from tests.support.postgres import TestCluster
from tests.support.server import first_key, running_server

POOLER = "JOBLEDGER_POSTGRES_POOLER"
PROGRAM = "tests.support.http_app"


class Places(NamedTuple):
    """Where one ledger is reached."""

    direct: str
    pooled: str


@pytest.fixture(scope="module")
def places(postgres_cluster: TestCluster) -> Iterator[Places]:
    """A ledger with the tenants `acme` and `beta`, whose lists a process keeps that connects directly."""
    with ExitStack() as ending:
        dsn = ending.enter_context(postgres_cluster.database(migrated=True))
        pooler = ending.enter_context(pgbouncer(dsn))
        handle = ending.enter_context(closing(open_ledger(load(database=dsn), app=app)))
        publish_types(handle, app)
        for tenant in ("acme", "beta"):
            Cli(Path("/"), dsn)("tenants", "create", tenant, "--reason", "a customer")
        runner = make_runner(handle)
        runner.start()
        ending.callback(runner.stop)
        yield Places(dsn, pooler.dsn(dsn))


@pytest.fixture(scope="module")
def client(places: Places, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """An administrator's client of a server behind the pooler."""
    folder = tmp_path_factory.mktemp("http")
    key = first_key(places.direct)
    with (
        running_server(
            places.pooled, folder, "--no-projections", key=key, settings={POOLER: "transaction"}
        ) as server,
        server.client() as client,
    ):  # fmt: skip
        yield client


@pytest.fixture
def cli(places: Places, tmp_path: Path) -> Cli:
    """The command line behind the pooler."""
    return Cli(tmp_path, places.pooled, **{POOLER: "transaction", "JOBLEDGER_TENANT": "acme", "JOBLEDGER_APP": PROGRAM})


def dispatch(client: httpx.Client, tenant: str = "acme", **headers: str) -> httpx.Response:
    """A job of a tenant."""
    body = {"type": "number.double", "payload": {"number": 2}}
    return client.post(f"/v1/tenants/{tenant}/jobs", json=body, headers=headers)


# --- the HTTP API ----------------------------------------------------------------------------------------------------


def test_jobs_are_dispatched_listed_and_cancelled_over_http(client: httpx.Client) -> None:
    """With idempotency keys, lists that wait for what was written, and nothing of another tenant."""
    first = dispatch(client, **{"Idempotency-Key": "two"})
    again = dispatch(client, **{"Idempotency-Key": "two"})
    other = dispatch(client, "beta").json()["job_id"]
    assert (first.status_code, again.status_code) == (201, 200)
    job_id, position = first.json()["job_id"], first.json()["position"]
    assert again.json()["job_id"] == job_id
    listed = client.get("/v1/tenants/acme/jobs", params={"after": position})
    assert listed.status_code == 200, listed.text
    assert [row["job_id"] for row in listed.json()["jobs"]] == [job_id]
    assert client.get(f"/v1/tenants/acme/jobs/{other}").status_code == 404
    cancelled = client.post(f"/v1/tenants/acme/jobs/{job_id}/cancel", json={"reason": "not needed"})
    assert cancelled.status_code == 200, cancelled.text
    assert client.get(f"/v1/tenants/acme/jobs/{job_id}").json()["status"] == "cancelled"


def test_a_worker_over_http_runs_jobs(client: httpx.Client) -> None:
    """Its claims are transactions like others; while it waits, the server looks again and again."""
    job_id = dispatch(client).json()["job_id"]
    made = client.post(
        "/v1/keys",
        json={"name": "worker", "reason": "a test", "grants": [{"role": "worker", "tenants": ["acme"]}]},
    )
    assert made.status_code == 201, made.text
    own = {"Authorization": f"Bearer {made.json()['credential']}"}
    wanted = {"worker": "w1", "queues": ["default"], "wait_seconds": 20}
    claimed = client.post("/v1/leases/claim", json=wanted, headers=own, timeout=60)
    assert claimed.status_code == 200, claimed.text
    (lease,) = claimed.json()["leases"]
    assert lease["job_id"] == job_id
    ended = client.post(f"{lease['path']}/complete", json={"worker": "w1", "result": {"number": 4}}, headers=own)
    assert (ended.status_code, ended.json()["status"]) == (200, "completed")


# --- the command line ------------------------------------------------------------------------------------------------


def test_an_operators_commands_work(cli: Cli) -> None:
    """Dispatch, look, limit, pause, audit; lists are those that another process keeps."""
    job_id = cli("dispatch", "number.double", "--reason", "a test", "--json").json["job_id"]
    assert job_id in cli("jobs", "show", job_id, "--json").out
    assert cli("jobs", "history", job_id, "--json").out
    assert cli("jobs", "list", "--json").out
    cli("limits", "set", "--queue", "reports", "--concurrency", "2", "--reason", "a slow provider")
    cli("queues", "pause", "reports", "--reason", "a broken provider")
    cli("queues", "resume", "reports", "--reason", "it is whole again")
    cli("tenants", "suspend", "beta", "--reason", "unpaid")
    cli("tenants", "resume", "beta", "--reason", "paid")
    assert cli("audit", "actions", "--json").out
    assert cli("projections", "status", "--json").out
    cli("jobs", "cancel", job_id, "--reason", "not needed")
    cli("migrate", "--check")
    cli("check")


@pytest.mark.parametrize(
    "words",
    [
        ("migrate",), ("up", "--drain"), ("work", "--drain"), ("serve", "--port", "0"),
        ("serve", "--port", "0", "--no-projections", "--maintenance"),
        ("projections", "rebuild", "tenant_jobs", "--reason", "a test"), ("projections", "verify", "tenant_jobs"),
        ("projections", "rebuild", "open_jobs", "--reason", "a test"), ("projections", "verify", "open_jobs"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_needs_sessions_is_refused(cli: Cli, words: tuple[str, ...]) -> None:
    """Workers, read models, rebuilds, maintenance and migrations: at once, naming the setting and what to do."""
    refusal = cli(*words, code=2)
    told = " ".join(refusal.err.split())
    assert POOLER in told, refusal
    assert f"{POOLER}=none and the server itself in JOBLEDGER_DATABASE" in told


def test_a_refused_rebuild_left_no_trace(cli: Cli) -> None:
    """It was refused before anything was recorded."""
    assert "rebuild" not in cli("audit", "actions", "--json").out


def test_the_setting_is_for_postgresql_servers(tmp_path: Path) -> None:
    """A file or an embedded server has no pooler before it."""
    for database in (f"sqlite:///{tmp_path}/ledger.db", f"embedded-postgres:///{tmp_path}/embedded"):
        command = Cli(tmp_path, database, **{POOLER: "transaction"})
        assert "needs a postgresql: URL in JOBLEDGER_DATABASE" in " ".join(command("migrate", code=2).err.split())
