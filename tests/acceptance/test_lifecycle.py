"""A job's life through the command line: dispatched, run, retried, dead, requeued, discarded, cancelled."""

from __future__ import annotations

import json
from typing import Any

from tests.support.cli import Cli

WHY = ("--reason", "trying it out")


def dispatched(cli: Cli, job_type: str, payload: dict[str, object], *words: str) -> str:
    """Dispatch a job; its id."""
    answer = cli("dispatch", job_type, "--payload", json.dumps(payload), *WHY, *words, "--json").json
    assert not answer["duplicate"]
    job_id = answer["job_id"]
    assert isinstance(job_id, str)
    return job_id


def shown(cli: Cli, job_id: str) -> dict[str, Any]:
    """The answer of `jobs show`."""
    job = cli("jobs", "show", job_id, "--json").json["job"]
    assert isinstance(job, dict)
    return job


def topics(cli: Cli, job_id: str) -> list[str]:
    """What happened to a job, in order."""
    events = cli("jobs", "history", job_id, "--json").json["events"]
    return [event["topic"] for event in events]


def test_a_job_runs_and_its_history_says_why(cli: Cli) -> None:
    """Dispatch, drain, then list, show and history agree; the manual dispatch names actor and reason."""
    job_id = dispatched(cli, "sample.ok", {"text": "hi"}, "--persona", "robot", "--priority", "7")
    assert shown(cli, job_id)["status"] == "pending"
    summary = cli("work", "--drain", "--json").json
    assert summary["result"] == "drained"
    assert summary["completed"] == 1

    job = shown(cli, job_id[-8:])
    assert (job["job_id"], job["status"], job["persona"], job["priority"]) == (job_id, "completed", "robot", 7)
    assert job["result"] == {"echo": "hi", "tenant": "acme"}
    assert job["payload"] == {"text": "hi", "number": 0}
    assert job["estimated_cost"] == 0.01

    listed = cli("jobs", "list", "--persona", "robot", "--status", "completed", "--json").json
    assert [row["job_id"] for row in listed["jobs"]] == [job_id]
    assert listed["as_of"]["lag_positions"] == 0

    events = cli("jobs", "history", job_id, "--json").json["events"]
    first, last = events[0], events[-1]
    assert (first["topic"], first["actor"], first["authenticated"]) == ("job.dispatched", "test:operator", False)
    assert first["facts"]["manual"] is True
    assert first["facts"]["reason"] == "trying it out"
    assert last["topic"] == "job.completed"
    assert last["actor"].startswith("worker:")
    text = cli("jobs", "history", job_id[-8:]).out
    for words in ("dispatched by test:operator (unauthenticated)", "by hand: trying it out", "attempt 1", "waited"):
        assert words in text


def test_a_flaky_job_is_retried_and_says_by_which_policy(cli: Cli) -> None:
    """Each retry records policy, delay and how many attempts are used."""
    job_id = dispatched(cli, "sample.flaky", {"failures": 2})
    cli("work", "--drain")
    job = shown(cli, job_id)
    assert (job["status"], job["attempt"], job["failed"]) == ("completed", 3, False)
    assert topics(cli, job_id).count("job.retried") == 2
    text = cli("jobs", "history", job_id).out
    assert "fixed" in text
    assert "2 of 3 attempts used" in text
    assert "ConnectionError: the provider hung up (attempt 1)" in text


def test_a_job_that_fails_for_good_waits_for_a_human(cli: Cli) -> None:
    """Attempts run out, the DLQ says why; a requeue with a reason gives new ones, a discard ends it."""
    job_id = dispatched(cli, "sample.failing", {"text": "x", "number": 5})
    cli("work", "--drain")
    dead = cli("dlq", "list", "--json").json["jobs"]
    assert [(row["job_id"], row["reason"], row["error_type"]) for row in dead] == [
        (job_id, "attempts_exhausted", "RuntimeError")
    ]
    failed = cli("jobs", "list", "--failed", "--json").json["jobs"]
    assert [row["job_id"] for row in failed] == [job_id]

    assert cli("dlq", "requeue", job_id, code=1, stdin="").err.count("--reason")
    cli("dlq", "requeue", job_id[-8:], "--reason", "provider fixed", "--ticket", "OPS-12", "--attempts", "1")
    assert shown(cli, job_id)["status"] == "pending"
    cli("work", "--drain")
    assert shown(cli, job_id)["attempt"] == 4
    answer = cli("dlq", "discard", job_id, "--reason", "customer left", "--json").json
    assert answer["jobs"][0]["status"] == "discarded"
    assert cli("dlq", "list", "--json").json["jobs"] == []

    text = cli("jobs", "history", job_id, "--bodies").out
    for words in ("provider fixed (OPS-12)", "customer left", "all attempts are used up, after attempt 3", "Traceback"):
        assert words in text


def test_an_error_that_no_retry_mends_goes_straight_to_the_dlq(cli: Cli) -> None:
    """`NeverRetry` is one attempt, and the reason is `unrecoverable`."""
    job_id = dispatched(cli, "sample.hopeless", {"text": "x"})
    cli("work", "--drain")
    assert cli("dlq", "list", "--json").json["jobs"][0]["reason"] == "unrecoverable"
    assert topics(cli, job_id) == ["job.dispatched", "job.started", "job.failed", "job.sent_to_dlq"]


def test_a_requeue_may_carry_an_edited_payload(cli: Cli) -> None:
    """The new payload is validated and runs; that it was edited is recorded."""
    job_id = dispatched(cli, "sample.flaky", {"failures": 10})
    cli("work", "--drain")
    refused = cli("dlq", "requeue", job_id, *WHY, "--payload", '{"failures": "many"}', "--json", code=1)
    assert refused.error["field"] == "payload.failures"
    cli("dlq", "requeue", job_id, *WHY, "--payload", '{"failures": 0}')
    cli("work", "--drain")
    assert shown(cli, job_id)["status"] == "completed"
    assert "payload edited" in cli("jobs", "history", job_id).out


def test_a_waiting_job_can_be_rescheduled_and_cancelled(cli: Cli) -> None:
    """A delayed job moves to another time and priority, then is cancelled; both say who and why."""
    job_id = dispatched(cli, "sample.ok", {"text": "later"}, "--delay", "3600")
    assert shown(cli, job_id)["status"] == "delayed"
    cli("jobs", "reschedule", job_id, "--priority", "-5", "--run-at", "2099-01-01T00:00:00+01:00", *WHY)
    job = shown(cli, job_id)
    assert (job["priority"], job["due_at"]) == (-5, "2098-12-31T23:00:00Z")
    assert "cancelled" in cli("jobs", "cancel", job_id, "--reason", "not needed").out
    again = cli("jobs", "cancel", job_id, "--reason", "not needed", "--json", code=1).error
    assert again["code"] == "illegal_transition"
    assert "cancelled" in again["message"]
    assert cli("work", "--drain", "--json").json["completed"] == 0


def test_the_same_key_gives_the_first_job_back(cli: Cli) -> None:
    """A second dispatch with the key is the first job; with another payload it is refused."""
    first = cli("dispatch", "sample.keyed", "--payload", '{"text": "once"}', *WHY, "--json").json
    second = cli("dispatch", "sample.keyed", "--payload", '{"text": "once"}', *WHY, "--json").json
    assert (second["job_id"], second["duplicate"]) == (first["job_id"], True)
    words = ("dispatch", "sample.keyed", "--payload", '{"text": "once", "number": 1}', *WHY, "--json")
    assert cli(*words, code=1).error["code"] == "idempotency_conflict"


def test_recorded_steps_never_run_twice(cli: Cli) -> None:
    """The attempt fails after its second step; the retry runs only the third."""
    file = cli.directory / "steps.txt"
    job_id = dispatched(cli, "sample.steps", {"file": str(file), "fail_after": 2})
    cli("work", "--drain")
    assert file.read_text().split() == ["first", "second", "third"]
    assert shown(cli, job_id)["result"] == ["first", "second", "third"]


def test_a_coroutine_runs_too(cli: Cli) -> None:
    """Handlers may be coroutines."""
    job_id = dispatched(cli, "sample.async", {"text": "hi"})
    cli("work", "--drain")
    assert shown(cli, job_id)["result"] == {"echo": "hi", "tenant": "acme"}


def test_many_jobs_come_from_a_file_and_only_bad_lines_are_refused(cli: Cli) -> None:
    """Each refused line is named with its number, field and rule; the others run."""
    lines = [
        {"type": "sample.ok", "payload": {"text": "1"}},
        {"type": "sample.ok", "payload": {"text": 2}},
        {"type": "sample.nothing", "payload": {}},
        {"type": "sample.ok", "payload": {"text": "4"}, "tenant": "nobody"},
        {"type": "sample.ok", "payload": {"text": "5"}, "run_at": "2026-01-01T00:00:00"},
        {"type": "sample.ok", "payload": {"text": "6"}, "priority": 101},
    ]
    text = "\n".join([*map(json.dumps, lines), "{not json", "", json.dumps(lines[0])])
    answer = cli("dispatch", "--jsonl", "-", *WHY, "--json", stdin=text, code=1).json
    assert (answer["accepted"], answer["refused"]) == (2, 6)
    errors = {item["line"]: item["error"] for item in answer["items"] if "error" in item}
    assert {line: error["code"] for line, error in errors.items()} == {
        2: "invalid_input", 3: "unknown_job_type", 4: "unknown_tenant", 5: "invalid_input", 6: "invalid_input",
        7: "invalid_input",
    }  # fmt: skip
    assert errors[2]["field"] == "payload.text"
    assert errors[5]["field"] == "run_at"
    assert cli("work", "--drain", "--json").json["completed"] == 2

    file = cli.directory / "jobs.jsonl"
    file.write_text(text)
    said = cli("dispatch", "--jsonl", file, *WHY, code=1)
    assert "2 dispatched, 6 refused" in said.out
    assert "line 4: tenant: there is no tenant 'nobody'" in said.err
