"""Logins to PostgreSQL that are members of one role only: what they may see is shown, the rest is refused by name."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.support.cli import Cli

SAMPLE = "tests.support.sample_app"


@pytest.fixture
def full(tmp_path_factory: pytest.TempPathFactory, postgres_dsn: str) -> Cli:
    """The command line of a login that may everything, on a ledger with a job that ended and one that waits."""
    directory = tmp_path_factory.mktemp("full")
    command = Cli(directory, postgres_dsn, JOBLEDGER_TENANT="acme", JOBLEDGER_APP=SAMPLE, JOBLEDGER_ACTOR="test:ana")
    command("tenants", "create", "acme", "--reason", "a customer")
    command("work", "--drain")
    return command


def dispatched(cli: Cli) -> str:
    """A job's id."""
    payload = json.dumps({"text": "hello"})
    job_id = cli("dispatch", "sample.ok", "--payload", payload, "--reason", "by hand", "--json").json["job_id"]
    assert isinstance(job_id, str)
    return job_id


def login(full: Cli, role: str) -> Cli:
    """The command line of a login that is a member of this role only."""
    dsn = full.variables["JOBLEDGER_DATABASE"]
    name = f"only_{role}"
    with psycopg.connect(dsn, autocommit=True) as superuser:
        if superuser.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is None:
            superuser.execute(f"CREATE ROLE {name} LOGIN")
        superuser.execute(f"GRANT jobledger_{role} TO {name}")
    parts = urlsplit(dsn)
    return full.with_variables(JOBLEDGER_DATABASE=parts._replace(netloc=f"{name}@{parts.hostname or ''}").geturl())


def test_a_login_of_the_api_reads_a_tenant(full: Cli) -> None:
    """Lists, one job, its past and its request, statistics, the DLQ, types, workers, a tenant's own audit."""
    job_id = dispatched(full)
    full("work", "--drain")
    full("jobs", "list")
    api = login(full, "api")
    assert [row["job_id"] for row in api("jobs", "list", "--json").json["jobs"]] == [job_id]
    assert [row["job_id"] for row in api("jobs", "list", "--as-of", "0s", "--json").json["jobs"]] == [job_id]
    shown = api("jobs", "show", job_id[-8:], "--json").json["job"]
    assert shown["status"] == "completed" and shown["payload"] == {"text": "hello", "number": 0}
    assert api("jobs", "show", job_id, "--as-of", "1", "--json").json["job"]["status"] == "pending"
    assert api("jobs", "history", job_id, "--json").json["events"][-1]["topic"] == "job.completed"
    assert api("jobs", "diff", job_id, "1", "--json").json["fields"][0]["name"] == "status"
    assert "completed in attempt 1" in api("jobs", "explain", job_id).out
    assert len(api("jobs", "trace", shown["correlation_id"], "--json").json["jobs"]) == 1
    assert api("stats", "--json").json["groups"][0]["completed"] == 1
    assert api("dlq", "list", "--json").json["jobs"] == []
    assert api("types", "list", "--json").json and "no worker runs" in api("workers").out
    acts = api("audit", "actions", "--tenant", "acme", "--json").json["acts"]
    assert [act["act"] for act in acts] == ["created", "dispatched by hand", "read bodies", "read bodies"]
    assert api("audit", "replay", "--type", "job.completed").out.count("\n") == 1


def test_such_a_login_is_told_what_it_does_not_see(full: Cli) -> None:
    """Of a job that waits: that limits and workers are not for it. What is everybody's is refused, with the role."""
    job_id = dispatched(full)
    api = login(full, "api")
    holds = api("jobs", "show", job_id, "--json").json["job"]["waits_for"]
    assert [hold["kind"] for hold in holds] == ["hidden"]
    assert "does not see" in api("jobs", "explain", job_id).out
    for words in (("tenants", "list"), ("limits", "list"), ("queues", "list"), ("audit", "actions"),
                  ("stats", "--queues"), ("projections", "status")):  # fmt: skip
        error = api(*words, "--json", code=4).error
        assert error["code"] == "login_refused" and "jobledger_" in error["message"], words
    assert api("jobs", "list", "--tenant", "nobody", "--json", code=1).error["code"] == "unknown_tenant"


def test_a_login_of_projectors_sees_how_views_stand(full: Cli) -> None:
    """Without being a member of any other role."""
    dispatched(full)
    projector = login(full, "projector")
    assert "tenant_jobs" in projector("projections", "status").out
    assert projector("projections", "parked").out == "nothing is parked\n"
