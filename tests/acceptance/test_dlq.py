"""The dead-letter queue through the command line."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jobledger import Ledger
from jobledger.infrastructure.service import make_maintenance
from tests.support.cli import PROGRAM, Cli
from tests.support.waiting import until

WHY = ("--reason", "gateway fixed")


def kill(cli: Cli, job_type: str = "sample.hopeless", count: int = 1, persona: str = "billing-bot") -> None:
    """Jobs that run and die."""
    line = {"type": job_type, "persona": persona}
    lines = [json.dumps({**line, "payload": {"text": f"text {n}", "number": n}}) for n in range(count)]
    cli("dispatch", "--jsonl", "-", "--reason", "a test", stdin="\n".join(lines))
    cli("work", "--drain")


def bury(cli: Cli, count: int) -> None:
    """Many dead jobs at once: what waits while its tenant is suspended dies without running."""
    lines = [json.dumps({"type": "sample.ok", "payload": {"text": "x", "number": n}}) for n in range(count)]
    cli("dispatch", "--jsonl", "-", "--reason", "a test", stdin="\n".join(lines))
    with Ledger.open(cli.variables["JOBLEDGER_DATABASE"]) as ledger:
        ledger.tenants.suspend("acme", reason="a test")
        chores = make_maintenance(ledger._handle, actor="test:maintenance")
        while chores.run_once():
            pass
        ledger.tenants.resume("acme", reason="a test")


def dead(cli: Cli, *words: str) -> list[dict[str, str]]:
    """The rows of the dead-letter queue."""
    rows: list[dict[str, str]] = cli("dlq", "list", *words, "--json").json["jobs"]
    return rows


def test_what_filters_match_is_shown_before_anything_is_done(cli: Cli) -> None:
    """The count, of what it consists, the last of them; nothing changes, no reason is needed."""
    kill(cli, count=3)
    kill(cli, "sample.failing", count=2, persona="mail-bot")
    said = cli("dlq", "requeue", "--all", "--dry-run")
    lines = [line.split() for line in said.out.splitlines()]
    assert lines[0] == ["5", "dead", "jobs", "of", "acme"]
    assert ["3", "sample.hopeless", "unrecoverable", "NeverRetry"] in lines
    assert ["2", "sample.failing", "attempts", "exhausted", "RuntimeError"] in lines
    assert "nothing was done" in said.out and "nothing is missing" in said.out
    shown = cli("dlq", "discard", "--persona", "mail-bot", "--since", "1h", "--dry-run", "--json").json
    assert (shown["act"], shown["jobs"], shown["filter"]["persona"]) == ("discard", 2, "mail-bot")
    assert shown["groups"] == [
        {"type": "sample.failing", "cause": "attempts_exhausted", "error_type": "RuntimeError", "jobs": 2}
    ]
    assert len(dead(cli)) == 5 and cli("dlq", "history", "--json").json["acts"] == []


def test_without_a_terminal_the_command_to_confirm_is_told(cli: Cli) -> None:
    """Refused with the count and the exact command; that command does it, to just those, however long one waits."""
    kill(cli, count=2)
    error = cli("dlq", "requeue", "--error-type", "NeverRetry", *WHY, "--ticket", "OPS-12", "--json", code=1).error
    assert error["code"] == "not_confirmed" and "2 jobs would be requeued" in error["message"]
    assert len(dead(cli)) == 2
    kill(cli)  # dies after the count
    program, *words = shlex.split(error["hint"])
    assert program == "jobledger"
    done = cli(*words, "--json").json
    assert (done["act"], done["confirmed"], done["changed"], done["skipped"], done["refused"]) == (
        "requeue",
        2,
        2,
        0,
        0,
    )
    assert len(dead(cli)) == 1
    (act,) = cli("dlq", "history", "--json").json["acts"]
    assert (act["event_id"], act["reason"], act["ticket"]) == (done["event_id"], "gateway fixed", "OPS-12")
    assert (act["filter"]["error_type"], act["confirmed"], act["finished"]) == ("NeverRetry", 2, True)
    assert "requeued 2 of 2 by test:operator" in cli("dlq", "history").out


def test_more_than_expected_is_refused_with_both_numbers(cli: Cli) -> None:
    """A script that expects five does not requeue six."""
    kill(cli, count=3)
    error = cli("dlq", "discard", "--all", "--expect", "2", "--yes", *WHY, "--json", code=1).error
    assert error["code"] == "count_changed"
    assert "3 dead jobs match now, 2 were confirmed" in error["message"]
    assert len(dead(cli)) == 3
    assert "discarded 3 jobs" in cli("dlq", "discard", "--all", "--expect", "3", "--yes", *WHY).out
    assert dead(cli) == []


def test_each_filter_of_the_list(cli: Cli) -> None:
    """Persona, cause, error, fingerprint, type, age."""
    kill(cli, count=2)
    kill(cli, "sample.failing", persona="mail-bot")
    fingerprint = dead(cli, "--type", "sample.failing")[0]["fingerprint"]
    found = {
        ("--persona", "mail-bot"): 1, ("--cause", "attempts-exhausted"): 1, ("--cause", "stalled"): 0,
        ("--error-type", "NeverRetry"): 2, ("--fingerprint", fingerprint): 1, ("--since", "1h"): 3,
        ("--until", "1h"): 0, ("--type", "sample.hopeless", "--persona", "billing-bot"): 2,
    }  # fmt: skip
    assert {words: len(dead(cli, *words)) for words in found} == found
    assert "no dead job matches" in cli("dlq", "list", "--cause", "stalled").out


def test_a_filter_that_matches_nothing_does_nothing(cli: Cli) -> None:
    """And says so, in both forms, without an error."""
    assert "0 dead jobs" in cli("dlq", "requeue", "--type", "no.such", *WHY).out
    done = cli("dlq", "discard", "--type", "no.such", "--yes", *WHY, "--json").json
    assert (done["changed"], done["event_id"]) == (0, None)
    assert cli("dlq", "history").out == "nothing was requeued or discarded by filter yet\n"


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("requeue", *WHY), "ID"),
        (("requeue", "0123abcd", "--all", *WHY), "ID"),
        (("discard", "0123abcd", "--dry-run", *WHY), "ID"),
        (("requeue", "--all", "--type", "sample.ok", *WHY), "--all"),
        (("requeue", "--all", "--yes"), "reason"),
        (("requeue", "--all", "--set", "text=x", "--yes", *WHY), "--set"),
        (("requeue", "--type", "x", "--payload", "{}", "--yes", *WHY), "--payload"),
        (("requeue", "0123abcd", "--payload", "{}", "--set", "a=b", *WHY), "--payload"),
        (("requeue", "0123abcd", "--set", "text", *WHY), "--set"),
        (("requeue", "0123abcd", "--set", "number:=five", *WHY), "--set"),
        (("discard", "--cause", "boredom", *WHY), "--cause"),
        (("discard", "--since", "2 fortnights", *WHY), "--since"),
        (("list", "--until", "2026-03-01T10:00:00"), "--until"),
    ],
)
def test_what_makes_no_sense_is_refused(cli: Cli, words: tuple[str, ...], field: str) -> None:
    """Named by its option; nothing happens."""
    assert cli("dlq", *words, "--json", code=1).error["field"] == field


def test_a_payload_is_edited_place_by_place(cli: Cli) -> None:
    """Text and JSON; what does not fit the type is refused with a hint; who may see bodies sees before and after."""
    kill(cli)
    job = dead(cli)[0]["job_id"]
    refused = cli("dlq", "requeue", job, "--set", "number=7", *WHY, "--json", code=1).error
    assert refused["field"] == "payload.number" and "--set number:=7" in refused["hint"]
    cli("dlq", "requeue", job, "--set", "number:=7", "--set", "text=a=b", *WHY)
    assert cli("jobs", "show", job, "--json").json["job"]["payload"] == {"text": "a=b", "number": 7}
    plain, told = cli("jobs", "history", job).out, cli("jobs", "history", job, "--bodies").out
    assert "payload edited (/text, /number): gateway fixed" in plain and "a=b" not in plain
    assert '~ /text: "text 0" -> "a=b"' in told and "~ /number: 0 -> 7" in told
    event = cli("jobs", "history", job, "--bodies", "--json").json["events"][-1]
    assert event["facts"]["payload_changes"] == [
        {"op": "replace", "path": "/text"}, {"op": "replace", "path": "/number"}
    ]  # fmt: skip
    assert event["payload_diff"][1] == {"op": "replace", "path": "/number", "before": 0, "after": 7}
    cli("work", "--drain")
    cli("dlq", "requeue", job, "--unset", "number", *WHY)
    assert cli("jobs", "show", job, "--json").json["job"]["payload"] == {"text": "a=b", "number": 0}


def test_a_dead_job_says_why_and_what_to_do(cli: Cli) -> None:
    """Cause, error, attempts, the commands that follow; payload and traceback only where asked for."""
    kill(cli, "sample.failing")
    job = dead(cli)[0]["job_id"]
    said = cli("dlq", "show", job[-8:]).out
    assert "attempts exhausted" in said and "RuntimeError: this never works" in said
    assert f"jobledger dlq requeue {job[-8:]} --tenant acme" in said
    assert "text 0" not in said and "Traceback" not in said
    told = cli("dlq", "show", job, "--bodies").out
    assert '"text": "text 0"' in told and "Traceback (most recent call last)" in told
    shape = cli("dlq", "show", job, "--json").json["job"]
    assert (shape["cause"], shape["error_type"], shape["times_requeued"]) == ("attempts_exhausted", "RuntimeError", 0)
    assert [(attempt["number"], attempt["ending"]) for attempt in shape["attempts"]] == [
        (1, "failed"), (2, "failed"), (3, "failed"),
    ]  # fmt: skip
    cli("dlq", "requeue", job, *WHY)
    error = cli("dlq", "show", job, "--json", code=1).error
    assert error["field"] == "job" and f"jobledger jobs show {job}" in error["hint"]


def test_the_shapes_of_json_are_stable(cli: Cli) -> None:
    """Programs depend on these names."""
    kill(cli, count=2)
    where = {"type", "kind", "queue", "persona", "cause", "error_type", "fingerprint", "since", "until"}
    shown = cli("dlq", "requeue", "--all", "--dry-run", "--json").json
    assert set(shown) == {
        "tenant", "act", "filter", "jobs", "groups", "group_count", "first_dead_at", "last_dead_at", "until", "sample",
        "as_of", "confirm",
    }  # fmt: skip
    assert set(shown["filter"]) == where and len(shown["sample"]) == 2
    job = cli("dlq", "show", dead(cli)[0]["job_id"], "--json").json["job"]
    assert {"dead_at", "cause", "error_fingerprint", "times_requeued", "attempts", "traceback", "payload"} <= set(job)
    assert set(job["attempts"][0]) == {"number", "worker", "started_at", "ended_at", "ending", "error"}
    done = cli("dlq", "discard", "--all", "--yes", *WHY, "--json").json
    assert set(done) == {
        "tenant", "filter", "act", "event_id", "confirmed", "changed", "skipped", "refused", "troubles", "position",
    }  # fmt: skip
    assert done["filter"]["until"] == shown["until"]
    (act,) = cli("dlq", "history", "--json").json["acts"]
    assert set(act) == {
        "event_id", "act", "begun_at", "actor", "reason", "ticket", "attempts_granted", "filter", "confirmed",
        "ended_at", "changed", "skipped", "refused", "finished",
    }  # fmt: skip
    assert set(act["filter"]) == set(done["filter"]) == where


def test_ten_thousand_dead_jobs_are_requeued_at_once(cli: Cli) -> None:
    """By one command, in bounded batches; every one of them, none twice, and each names the act as its cause."""
    bury(cli, count=10_000)
    done = cli("dlq", "requeue", "--type", "sample.ok", "--yes", "--attempts", "1", *WHY, "--json").json
    assert (done["confirmed"], done["changed"], done["skipped"], done["refused"]) == (10_000, 10_000, 0, 0)
    until(lambda: dead(cli) == [])  # each look brings the lists two seconds further
    until(lambda: bool(_pending(cli)))
    one = _pending(cli)[0]["job_id"]
    event = cli("jobs", "history", one, "--json").json["events"][-1]
    assert (event["topic"], event["causation_id"]) == ("job.requeued", done["event_id"])
    again = cli("dlq", "requeue", "--type", "sample.ok", "--yes", *WHY, "--json").json
    assert (again["confirmed"], again["changed"]) == (0, 0)


def _pending(cli: Cli) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = cli("jobs", "list", "--status", "pending", "--limit", "1", "--json").json["jobs"]
    return rows


# --- on a terminal ---------------------------------------------------------------------------------------------------


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], end: int) -> None:
        self.process = process
        self.end = end
        self.said = ""

    def wait_for(self, text: str) -> None:
        """Until it has said this."""
        while text not in self.said:
            heard = os.read(self.end, 10_000)
            assert heard, self.said
            self.said += heard.decode()

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self.end, f"{text}\n".encode())


@contextmanager
def terminal(cli: Cli, *words: str) -> Iterator[Terminal]:
    """Run the program on a terminal."""
    ours, theirs = pty.openpty()
    environment = {**cli.environment(), "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        [str(PROGRAM), *words], cwd=cli.directory, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_on_a_terminal_one_is_asked(cli: Cli) -> None:
    """After being shown what matches; only a yes does it."""
    kill(cli, count=2)
    for answer, code, left in (("n", 1, 2), ("y", 0, 0)):
        with terminal(cli, "dlq", "requeue", "--error-type", "NeverRetry", *WHY) as shown:
            shown.wait_for("Requeue 2 jobs?")
            assert "2 dead jobs" in shown.said and "NeverRetry: the account is closed" in shown.said
            shown.type(answer)
            shown.wait_for("nothing was done" if answer == "n" else "requeued 2 jobs")
            assert shown.process.wait(60) == code
        assert len(dead(cli)) == left
