"""Limits and pauses through the command line, with workers that obey them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Cli

WHY = ("--reason", "trying it out")
BOT = ("--tenant", "acme", "--persona", "billing-bot")


def dispatched(cli: Cli, text: str, *words: str, job_type: str = "sample.ok") -> str:
    """Dispatch a job; its id."""
    job_id = cli("dispatch", job_type, "--payload", json.dumps({"text": text}), *WHY, *words, "--json").json["job_id"]
    assert isinstance(job_id, str)
    return job_id


def drained(cli: Cli, *words: str) -> int:
    """Let a worker do what may be done; how many jobs completed."""
    completed = cli("work", "--drain", *words, "--json").json["completed"]
    assert isinstance(completed, int)
    return completed


def waits_for(cli: Cli, job_id: str) -> list[dict[str, Any]]:
    """Why a job waits, as `jobs show` says."""
    holds = cli("jobs", "show", job_id, "--json").json["job"]["waits_for"]
    assert isinstance(holds, list)
    return holds


def started_order(cli: Cli, job_ids: list[str]) -> list[str]:
    """The jobs in the order in which their attempts began, by position in the ledger."""
    positions = {}
    for job_id in job_ids:
        events = cli("jobs", "history", job_id, "--json").json["events"]
        (positions[job_id],) = [event["position"] for event in events if event["topic"] == "job.started"]
    return sorted(job_ids, key=positions.__getitem__)


def test_a_paused_queue_starts_nothing_until_it_is_resumed(cli: Cli) -> None:
    """Jobs are still taken, another queue goes on; afterwards the ledger tells who paused it, when and why."""
    assert "paused" in cli("queues", "pause", "default", "--reason", "provider down").out
    held = dispatched(cli, "held")
    free = dispatched(cli, "free", job_type="sample.keyed")
    assert drained(cli) == 1
    assert cli("jobs", "show", free, "--json").json["job"]["status"] == "completed"
    (hold, *_) = waits_for(cli, held)
    assert (hold["kind"], hold["target"]) == ("paused", {"scope": "queue", "tenant": None, "name": "default"})
    assert "by test:operator: provider down" in hold["text"]
    assert "queue default is paused since" in cli("jobs", "show", held).out
    (row,) = [row for row in cli("queues", "list", "--json").json["queues"] if row["queue"] == "default"]
    assert (row["paused"], row["jobs"]["pending"], "sample.ok" in row["job_types"]) == (True, 1, True)

    cli("queues", "resume", "default", "--reason", "provider back")
    assert drained(cli) == 1
    assert waits_for(cli, held) == []
    past = cli("limits", "history", "--queue", "default", "--json").json
    assert [(event["topic"], event["actor"], event["why"]) for event in past["events"]] == [
        ("queue.paused", "test:operator", "provider down"), ("queue.resumed", "test:operator", "provider back"),
    ]  # fmt: skip
    text = cli("limits", "history", "--queue", "default").out
    assert "paused by test:operator" in text and "provider back" in text


@pytest.mark.timeout(50)
def test_resuming_starts_what_waited_in_a_worker_that_runs(cli: Cli) -> None:
    """The worker is another process; it hears of it, and does not only look again a minute later."""
    cli = cli.with_variables(JOBLEDGER_POLL_INTERVAL_SECONDS="60")
    cli("limits", "pause", "--tenant", "acme", "--key", "gateway:*", "--reason", "down")
    held = dispatched(cli, "held", "--limit-key", "gateway:7")
    gate, started = cli.directory / "gate", cli.directory / "started"
    with cli.running("work", "--concurrency", "4") as worker:
        payload = json.dumps({"started": str(started), "release": str(gate)})
        free = cli("dispatch", "sample.slow", "--payload", payload, *WHY, "--json").json["job_id"]
        until(cli, free, "in_progress")
        assert [hold["kind"] for hold in waits_for(cli, held)] == ["paused"]
        cli("limits", "resume", "--tenant", "acme", "--key", "gateway:*", "--reason", "back")
        until(cli, held, "completed")
        gate.touch()
        worker.stop()


def until(cli: Cli, job_id: str, status: str) -> None:
    """Ask again until a job has come so far."""
    while cli("jobs", "show", job_id, "--json").json["job"]["status"] != status:
        pass


def test_a_persona_limited_to_one_runs_oldest_first(cli: Cli) -> None:
    """Within priority, across job types and limit keys, however many the worker could run at once (R0.4)."""
    cli("limits", "set", *BOT, "--concurrency", "1", "--reason", "it has one mailbox")
    jobs = [
        dispatched(cli, str(number), *BOT, "--limit-key", f"box:{number % 3}", *urgent)
        for number, urgent in enumerate([(), (), (), ("--priority", "5"), ()])
    ]
    assert drained(cli, "--concurrency", "8") == 5
    assert started_order(cli, jobs) == [jobs[3], *jobs[:3], jobs[4]]
    events = [
        (event["position"], event["topic"])
        for job_id in jobs for event in cli("jobs", "history", job_id, "--json").json["events"]
        if event["topic"] in ("job.started", "job.completed")
    ]  # fmt: skip
    assert [topic for _, topic in sorted(events)] == ["job.started", "job.completed"] * 5


def test_limits_are_set_changed_listed_and_removed(cli: Cli) -> None:
    """What is not named stays; the list shows all of it, and nothing once it is gone."""
    billing = ("--queue", "keyed")
    assert cli("limits", "set", *billing, "--concurrency", "5", "--rate", "100/60s", *WHY).out == (
        "queue keyed: 5 at a time, 100/60s\n"
    )
    cli("limits", "set", "--tenant", "acme", "--weight", "5", *WHY)
    changed = cli("limits", "set", *billing, "--rate", "10/1s", *WHY, "--json").json
    assert changed == {
        "scope": "queue", "tenant": None, "name": "keyed", "concurrency": 5, "rate": {"count": 10, "seconds": 1.0},
        "weight": 1, "paused": False, "changed": True, "remark": None,
    }  # fmt: skip
    assert "nothing is recorded" in cli("limits", "set", *billing, "--rate", "10/s", *WHY).out
    listed = cli("limits", "list", "--json").json["limits"]
    assert [(row["scope"], row["name"], row["weight"]) for row in listed] == [
        ("queue", "keyed", 1),
        ("tenant", "acme", 5),
    ]
    (acme,) = cli("tenants", "list", "--json").json["tenants"]
    assert (acme["weight"], acme["paused"]) == (5, False)
    assert "weight 5" in cli("tenants", "list").out
    cli("limits", "remove", *billing, "--rate", *WHY)
    assert cli("limits", "remove", "--tenant", "acme", *WHY).out == "tenant acme: no limits\n"
    assert "5" in cli("limits", "list", "--scope", "queue").out
    cli("limits", "remove", *billing, *WHY)
    assert cli("limits", "list").out == "nothing is limited or paused\n"
    assert "unlimited by test:operator" in cli("limits", "history", *billing).out


def test_a_paused_tenant_is_not_a_suspended_one(cli: Cli) -> None:
    """Paused: its jobs wait and run later. Suspended: dispatches are refused and what waits goes to the DLQ."""
    cli("tenants", "pause", "acme", "--reason", "migration")
    assert "active, paused" in cli("tenants", "list").out
    waiting = dispatched(cli, "waits")
    assert drained(cli) == 0
    cli("tenants", "unpause", "acme", "--reason", "migrated")
    assert drained(cli) == 1
    assert cli("jobs", "show", waiting, "--json").json["job"]["status"] == "completed"

    lost = dispatched(cli, "lost")
    assert cli("tenants", "suspend", "acme", "--reason", "unpaid", "--json").json["tenant"]["status"] == "suspended"
    refused = cli("dispatch", "sample.ok", "--payload", '{"text": "no"}', *WHY, "--json", code=1).error
    assert refused["code"] == "tenant_suspended"
    assert drained(cli) == 0
    assert cli("jobs", "show", lost, "--json").json["job"]["status"] == "dlq"
    assert "active" in cli("tenants", "resume", "acme", "--reason", "paid").out


def test_a_worker_can_be_there_for_one_tenant_or_persona(cli: Cli) -> None:
    """It leaves all others' jobs to others (R0.4, R4.10)."""
    cli("tenants", "create", "nova")
    mine, bots = dispatched(cli, "mine"), dispatched(cli, "bot's", "--persona", "billing-bot")
    others = dispatched(cli, "theirs", "--tenant", "nova")
    assert drained(cli, *BOT) == 1
    assert cli("jobs", "show", bots, "--json").json["job"]["status"] == "completed"
    assert drained(cli, "--tenant", "acme", "--rate", "50/1s") == 1
    assert cli("jobs", "show", mine, "--json").json["job"]["status"] == "completed"
    assert drained(cli.with_variables(JOBLEDGER_WORKER_TENANTS="acme")) == 0
    assert drained(cli.with_variables(JOBLEDGER_WORKER_TENANTS="acme,nova", JOBLEDGER_WORKER_RATE="50/s")) == 1
    assert cli("jobs", "show", others, "--tenant", "nova", "--json").json["job"]["status"] == "completed"


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("limits", "set", "--queue", "q", "--concurrency", "1"), "reason"),
        (("limits", "set", "--queue", "q", *WHY), "limits"),
        (("limits", "set", "--concurrency", "1", *WHY), "--queue, --tenant"),
        (("limits", "set", "--queue", "q", "--rate", "fast", *WHY), "rate"),
        (("limits", "set", "--queue", "q", "--weight", "2", *WHY), "weight"),
        (("limits", "set", "--tenant", "nobody", "--weight", "2", *WHY), "tenant"),
        (("limits", "pause", "--queue", "q", "--tenant", "acme", *WHY), "queue"),
        (("limits", "resume", "--persona", "billing-bot", *WHY), "status"),
        (("queues", "pause", "default"), "reason"),
        (("tenants", "pause", "acme"), "reason"),
        (("work", "--persona", "billing-bot", "--drain"), "personas"),
        (("work", "--rate", "1/0s", "--drain"), "rate"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_a_refusal_names_field_rule_and_next_step(sqlite_cli: Cli, words: tuple[str, ...], field: str) -> None:
    """And changes nothing."""
    error = sqlite_cli(*words, "--json", code=1).error
    assert error["field"] == field
    assert error["rule"]
    assert sqlite_cli("limits", "list", "--json").json["limits"] == []


@pytest.fixture
def sqlite_cli(tmp_path: Path, sqlite_url: str) -> Cli:
    """The command line on a SQLite ledger with the tenant `acme`."""
    command = Cli(tmp_path, sqlite_url, JOBLEDGER_TENANT="acme", JOBLEDGER_APP="tests.support.sample_app")
    command("migrate")
    command("tenants", "create", "acme")
    return command
