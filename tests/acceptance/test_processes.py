"""Several processes on one ledger, and how they end."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path

from tests.support.cli import Cli
from tests.support.waiting import until

WHY = ("--reason", "a test")


def status_of(cli: Cli, job_id: str) -> str:
    """Where a job stands."""
    return str(cli("jobs", "show", job_id, "--json").json["job"]["status"])


def slow_job(cli: Cli) -> tuple[str, Path, Path]:
    """A dispatched job that runs until its gate is there: its id, the file it makes, its gate."""
    started, release = cli.directory / "started", cli.directory / "release"
    payload = json.dumps({"started": str(started), "release": str(release)})
    job_id = cli("dispatch", "sample.slow", "--payload", payload, *WHY, "--json").json["job_id"]
    return job_id, started, release


def test_two_workers_and_a_list_share_a_ledger(cli: Cli) -> None:
    """Every job runs once, every list works, and nobody ever hears of a lock."""
    lines = [json.dumps({"type": "sample.ok", "payload": {"text": str(number)}}) for number in range(400)]
    with cli.running("work") as first, cli.running("work", "--without-projections") as second:
        until(lambda: first.has_said("work.started") and second.has_said("work.started"))
        cli("dispatch", "--jsonl", "-", *WHY, stdin="\n".join(lines[:200]))
        cli("jobs", "list", "--status", "completed")
        cli("dispatch", "--jsonl", "-", *WHY, stdin="\n".join(lines[200:]))
        until(lambda: len(cli("jobs", "list", "--status", "completed", "--limit", "500", "--json").json["jobs"]) == 400)
        ended = [first.stop(), second.stop()]
    for answer in ended:
        assert answer.code == 0, answer
        assert "locked" not in answer.err
        assert "Traceback" not in answer.err
    started = Counter(
        event["job_id"]
        for answer in ended
        for line in answer.err.splitlines()
        if (event := json.loads(line) if line.startswith("{") else {}).get("event") == "job.started"
    )
    assert (len(started), set(started.values())) == (400, {1})


def test_sigterm_gives_back_what_does_not_finish_in_time(cli: Cli) -> None:
    """The attempt does not count, the reason stands in the history, and another worker takes the job."""
    job_id, started, release = slow_job(cli)
    with cli.with_variables(JOBLEDGER_SHUTDOWN_GRACE_SECONDS="0").running("work") as worker:
        until(started.exists)
        answer = worker.stop(signal.SIGTERM)
    assert answer.code == 0, answer
    job = cli("jobs", "show", job_id, "--json").json["job"]
    assert (job["status"], job["attempt"], job["attempts_counted"]) == ("pending", 1, 0)
    assert "attempt 1 given back" in cli("jobs", "history", job_id).out
    release.touch()
    cli("work", "--drain")
    assert status_of(cli, job_id) == "completed"


def test_sigterm_lets_a_running_job_finish(cli: Cli) -> None:
    """Within the grace period nothing is cut off; no new job is begun."""
    job_id, started, release = slow_job(cli)
    with cli.running("work", "--concurrency", "1") as worker:
        until(started.exists)
        worker.process.send_signal(signal.SIGTERM)
        waiting = cli("dispatch", "sample.ok", "--payload", '{"text": "x"}', *WHY, "--json").json["job_id"]
        release.touch()
        answer = worker.wait()
    assert answer.code == 0, answer
    assert "1 completed" in answer.out
    assert status_of(cli, job_id) == "completed"
    assert status_of(cli, waiting) == "pending"


def test_a_second_signal_ends_at_once(cli: Cli) -> None:
    """Whoever asks twice means it: what runs is given back without waiting for the grace period."""
    job_id, started, _release = slow_job(cli)
    with cli.with_variables(JOBLEDGER_SHUTDOWN_GRACE_SECONDS="3600").running("work") as worker:
        until(started.exists)
        worker.process.send_signal(signal.SIGTERM)  # two of one kind, sent at once, may arrive as one
        answer = worker.stop(signal.SIGINT)
    assert answer.code == 0, answer
    assert status_of(cli, job_id) == "pending", answer


def test_a_running_job_can_be_cancelled(cli: Cli) -> None:
    """Its handler is told, the attempt ends, and the history says who asked and why."""
    job_id, started, _release = slow_job(cli)
    with cli.running("work") as worker:
        until(started.exists)
        assert "asked to stop" in cli("jobs", "cancel", job_id, "--reason", "wrong customer").out
        until(lambda: status_of(cli, job_id) == "cancelled")
        worker.stop()
    events = cli("jobs", "history", job_id, "--json").json["events"]
    asked = next(event for event in events if event["topic"] == "job.cancel_requested")
    assert (asked["actor"], asked["why"]) == ("test:operator", "wrong customer")
    assert events[-1]["topic"] == "job.cancelled"


def test_what_a_killed_worker_held_is_rescued(cli: Cli) -> None:
    """Its lease runs out, maintenance of another worker finds the job, and the stall does not cost an attempt."""
    job_id, started, release = slow_job(cli)
    brief = cli.with_variables(
        JOBLEDGER_LEASE_SECONDS="1", JOBLEDGER_LEASE_RENEW_BUFFER_SECONDS="0.5",
        JOBLEDGER_MAINTENANCE_INTERVAL_SECONDS="1",
    )  # fmt: skip
    with brief.running("work") as worker:
        until(started.exists)
        worker.process.kill()
        worker.wait()
    release.touch()
    with brief.running("work") as worker:
        until(lambda: status_of(cli, job_id) == "completed")
        worker.stop()
    job = cli("jobs", "show", job_id, "--json").json["job"]
    assert (job["attempt"], job["attempts_counted"], job["stalls"]) == (2, 1, 1)
    assert "job.stalled" in {event["topic"] for event in cli("jobs", "history", job_id, "--json").json["events"]}
