"""What commands print: stable JSON for programs, plain text in a pipe, tables that fit a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import struct
import subprocess
from fcntl import ioctl
from termios import TIOCSWINSZ

import pytest

from tests.support.cli import PROGRAM, Cli

WHY = ("--reason", "a test")
JOB_ROW = {
    "job_id", "tenant", "persona", "status", "failed", "type", "kind", "queue", "priority", "attempt",
    "attempts_counted", "attempts_allowed", "created_at", "updated_at", "due_at", "started_at", "completed_at",
    "error_type", "error_message", "progress",
}  # fmt: skip
JOB = (JOB_ROW | {
    "version", "stalls", "retry", "timeout_seconds", "soft_timeout_seconds", "worker", "lock_key", "limit_key",
    "cancel_reason", "error_fingerprint", "estimated_cost", "idempotency_key", "actor", "authenticated",
    "correlation_id", "trace_parent", "payload", "result", "waits_for", "past",
})  # fmt: skip
TENANT = {"name", "status", "display_name", "concurrency", "rate", "weight", "paused"}
ENTRY = {
    "event_id", "version", "position", "topic", "recorded_at", "seconds", "actor", "authenticated", "correlation_id",
    "causation_id", "trace_id", "why", "facts", "attempt_seconds", "on_behalf_of", "address", "request_id",
}  # fmt: skip
DEAD_ROW = {
    "job_id", "tenant", "persona", "type", "kind", "queue", "reason", "error_type", "error_message", "fingerprint",
    "attempt", "created_at", "dead_at",
}  # fmt: skip
LIST = {"tenant", "jobs", "next", "as_of"}
AS_OF = {"position", "head", "lag_positions", "recorded_at", "parked", "hold"}
HISTORY = {
    "tenant", "job_id", "correlation_id", "cause", "events", "next", "caused", "caused_more", "caused_as_of",
}  # fmt: skip


@pytest.fixture
def story(cli: Cli) -> Cli:
    """A ledger with jobs in several statuses."""
    lines = [{"type": "sample.ok", "payload": {"text": "x"}, "persona": "robot"} for _ in range(5)]
    lines.append({"type": "sample.failing", "payload": {"text": "y" * 50}})
    cli("dispatch", "--jsonl", "-", *WHY, stdin="\n".join(map(json.dumps, lines)))
    cli("work", "--drain")
    return cli


def test_the_shapes_of_json_are_stable(story: Cli) -> None:
    """Programs depend on these names."""
    listed = story("jobs", "list", "--json").json
    assert (set(listed), set(listed["as_of"])) == (LIST, AS_OF)
    assert all(set(row) == JOB_ROW for row in listed["jobs"])
    dead = story("dlq", "list", "--json").json
    assert (set(dead), set(dead["jobs"][0])) == (LIST, DEAD_ROW)
    job_id = dead["jobs"][0]["job_id"]
    assert set(story("jobs", "show", job_id, "--json").json["job"]) == JOB
    past = story("jobs", "history", job_id, "--json").json
    assert (set(past), set(past["events"][0])) == (HISTORY, ENTRY)
    assert set(story("tenants", "list", "--json").json["tenants"][0]) == TENANT
    assert {"name", "kind", "options", "payload_schema", "fingerprint"} <= set(
        story("types", "list", "--json").json["types"][0]
    )
    assert set(story("version", "--json").json) == {"jobledger", "python"}
    assert set(story("jobs", "show", "00000000", "--json", code=1).error) == {
        "code",
        "message",
        "field",
        "rule",
        "hint",
    }


def test_pages_follow_each_other(story: Cli) -> None:
    """`next` of a page is `--after` of the following; together they hold every job once."""
    seen: list[str] = []
    after: list[str] = []
    for _ in range(3):
        page = story("jobs", "list", "--limit", "2", *after, "--json").json
        seen += [row["job_id"] for row in page["jobs"]]
        after = ["--after", page["next"]] if page["next"] else []
    assert (len(seen), len(set(seen)), after) == (6, 6, [])
    assert "next page: jobledger jobs list --limit 2 --after" in story("jobs", "list", "--limit", "2").out


def test_a_history_has_pages_too(story: Cli) -> None:
    """A long history is read in parts."""
    job_id = story("dlq", "list", "--json").json["jobs"][0]["job_id"]
    whole = story("jobs", "history", job_id, "--json").json["events"]
    first = story("jobs", "history", job_id, "--limit", "3", "--json").json
    rest = story("jobs", "history", job_id, "--after", str(first["next"]), "--json").json
    assert [event["version"] for event in first["events"] + rest["events"]] == [event["version"] for event in whole]


def test_nothing_is_coloured_or_cut_in_a_pipe(story: Cli) -> None:
    """What grep reads is complete."""
    for words in (("jobs", "list"), ("dlq", "list"), ("tenants", "list"), ("types", "list"), ("check",)):
        answer = story(*words)
        assert "\x1b" not in answer.out + answer.err
        assert "…" not in answer.out
    assert "\x1b" not in story("jobs", "show", "00000000", code=1).err


def test_what_people_wrote_is_never_read_as_markup(cli: Cli) -> None:
    """Reasons, keys and payloads are shown as they are, brackets included."""
    text = "[/] [bold]not bold[/bold] [red"
    words = ("dispatch", "sample.ok", "--payload", json.dumps({"text": text}), "--idempotency-key", text, *WHY)
    job_id = cli(*words, "--delay", "99", "--json").json["job_id"]
    assert cli("jobs", "show", job_id).out.count(text) == 2
    cli("jobs", "cancel", job_id, "--reason", text)
    assert text in cli("jobs", "history", job_id).out
    assert "no jobs" in cli("jobs", "list", "--queue", text, "--type", text).out
    assert text in cli("jobs", "show", "[/]" + text, code=1).err


@pytest.mark.parametrize("columns", [80, 100])
def test_tables_fit_a_terminal(story: Cli, columns: int) -> None:
    """On a terminal there are colours, ids are whole, and no line is wider than the screen."""
    text = on_a_terminal(story, columns, "jobs", "list", "--persona", "robot")
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in text.splitlines()]
    assert "\x1b[" in text
    assert max(len(line) for line in lines) <= columns
    assert sum(bool(re.match(r"[0-9a-f]{8} ", line)) for line in lines) == 5


def on_a_terminal(cli: Cli, columns: int, *words: str) -> str:
    """What the program prints where stdout is a terminal of that width."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JOBLEDGER_", "COLUMNS"))}
    environment = {**kept, "TERM": "xterm-256color", **cli.variables}
    process = subprocess.Popen(
        [str(PROGRAM), *words], cwd=cli.directory, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    printed = b""
    try:
        while select.select([ours], [], [], 60)[0]:
            printed += os.read(ours, 65_536)
    except OSError:  # the other side was closed: the end
        pass
    finally:
        os.close(ours)
        process.wait(60)
    return printed.decode()
