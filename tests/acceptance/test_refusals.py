"""What is refused, and how: what happened, which field, which rule, what to run next."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.support.cli import PROGRAM, Cli
from tests.support.repository import ROOT

from .conftest import SAMPLE

WHY = ("--reason", "a test")


def test_an_unknown_tenant_prints_the_line_that_creates_it(cli: Cli) -> None:
    """The hint is a command that can be pasted."""
    said = cli("dispatch", "sample.ok", "--payload", '{"text": "x"}', "--tenant", "newco", *WHY, code=1)
    assert "there is no tenant 'newco'" in said.err
    assert "jobledger tenants create newco" in said.err
    assert said.out == ""


def test_an_unknown_type_names_the_known_ones(cli: Cli) -> None:
    """The answer helps against typing errors."""
    error = cli("dispatch", "sample.okay", *WHY, "--json", code=1).error
    assert (error["code"], error["field"]) == ("unknown_job_type", "type")
    assert "sample.ok" in error["hint"]


def test_a_manual_dispatch_needs_a_reason(cli: Cli) -> None:
    """Without one nothing is dispatched (R4.13)."""
    error = cli("dispatch", "sample.ok", "--payload", '{"text": "x"}', "--json", code=1).error
    assert error["code"] == "reason_required"
    assert cli("jobs", "list", "--json").json["jobs"] == []


@pytest.mark.parametrize(
    ("payload", "field", "words"),
    [
        ("{not json", "--payload", "line 1 column 2"),
        ("[1]", "--payload", "no object"),
        ("@nowhere.json", "--payload", "nowhere.json"),
        ('{"text": 5}', "payload.text", "string"),
        ('{"texte": "x"}', "payload.text", "required"),
        ('{"text": "x", "more": 1}', "payload.more", "does not know"),
    ],
)
def test_a_payload_that_does_not_fit_names_field_and_rule(cli: Cli, payload: str, field: str, words: str) -> None:
    """Neither JSON errors nor schema errors show a traceback."""
    error = cli("dispatch", "sample.ok", "--payload", payload, *WHY, "--json", code=1).error
    assert error["field"] == field
    assert words.lower() in error["message"].lower()


def test_a_payload_that_is_too_large_names_the_limit(cli: Cli) -> None:
    """From stdin, so that the shell's own limit is out of the way."""
    big = '{"text": "' + "x" * 300_000 + '"}'
    error = cli("dispatch", "sample.ok", "--payload", "-", *WHY, "--json", stdin=big, code=1).error
    assert error["code"] in {"payload_too_large", "invalid_input"}
    assert error["field"].startswith("payload")


@pytest.mark.parametrize("time", ["2026-03-01T10:00:00", "tomorrow"])
def test_a_time_without_a_zone_is_refused(cli: Cli, time: str) -> None:
    """Naive datetimes mean something else on every machine."""
    error = cli("dispatch", "sample.ok", "--payload", '{"text": "x"}', "--run-at", time, *WHY, "--json", code=1).error
    assert error["field"] == "--run-at"
    assert "zone" in f"{error['message']} {error['rule']}"


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "9999-12-31T23:59:59Z"])
def test_a_time_at_the_ends_of_the_calendar_is_refused(cli: Cli, time: str) -> None:
    """In another zone it is no time at all: stored, it would break every list that shows it."""
    words = ("dispatch", "sample.ok", "--payload", '{"text": "x"}', "--run-at", time, *WHY, "--json")
    assert cli(*words, code=1).error["field"] in {"--run-at", "run_at"}
    line = json.dumps({"type": "sample.ok", "payload": {"text": "x"}, "run_at": time})
    (item,) = cli("dispatch", "--jsonl", "-", *WHY, "--json", stdin=line, code=1).json["items"]
    assert item["error"]["field"] == "run_at"
    assert cli("jobs", "list", "--json").json["jobs"] == []


def test_bad_lines_of_a_batch_leave_the_good_ones_alone(cli: Cli, tmp_path: Path) -> None:
    """Whatever a line holds (half a surrogate pair, bytes that are not UTF-8, nesting without end), it is refused with
    its number, and the others are dispatched. Only line feeds end a line."""
    half, deep, deeper = b"\\ud800", b"[" * 250 + b"]" * 250, b"[" * 100_000 + b"]" * 100_000
    bad = [
        b'{"type": "sample.ok", "payload": {"text": "%s"}}' % half,
        b'{"type": "%s"}' % half,
        b'{"type": "sample.ok", "tenant": "%s"}' % half,
        b'{"type": "sample.ok", "payload": {"%s": 1}}' % half,
        b'{"type": "sample.ok", "payload": {"text": "\xff"}}',
        b'{"type": "sample.ok", "payload": {"text": %s}}' % deep,
        b'{"type": "sample.ok", "payload": {"text": %s}}' % deeper,
        b'{"type": "sample.ok\\u0000", "payload": {"text": "x"}}',
        b'{"type": "sample.ok", "tenant": "acme\\u0000", "payload": {"text": "x"}}',
    ]
    good = [b'{"type": "sample.ok", "payload": {"text": "%d\xe2\x80\xa8"}}' % number for number in range(len(bad))]
    file = tmp_path / "batch.jsonl"
    file.write_bytes(b"\n".join(line for pair in zip(good, bad, strict=True) for line in pair))
    answer = cli("dispatch", "--jsonl", file, *WHY, "--json", code=1).json
    assert (answer["accepted"], answer["refused"]) == (len(good), len(bad))
    assert [item["line"] for item in answer["items"] if "error" in item] == list(range(2, 2 * len(bad) + 1, 2))
    assert all(item["error"]["field"] and item["error"]["rule"] for item in answer["items"] if "error" in item)
    assert len(cli("jobs", "list", "--json").json["jobs"]) == len(good)


@pytest.mark.parametrize("payload", ['{"text": "\\ud800"}', '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}"])
def test_a_payload_that_no_one_could_read_again_is_refused(cli: Cli, payload: str) -> None:
    """Half a surrogate pair is no text, and nesting has an end."""
    error = cli("dispatch", "sample.ok", "--payload", "-", *WHY, "--json", stdin=payload, code=1).error
    assert error["field"] in {"payload", "payload.text", "--payload"}


def test_the_largest_page_is_what_the_help_says(cli: Cli) -> None:
    """A limit above it is a usage error, not one of the query's."""
    for words in (("jobs", "list"), ("dlq", "list")):
        cli(*words, "--limit", "500")
        assert cli(*words, "--limit", "501", "--json", code=2).error["code"] == "usage"


@pytest.mark.parametrize("job_id", ["short", "zzzzzzzz", "0" * 40])
def test_what_is_no_id_is_refused(cli: Cli, job_id: str) -> None:
    """The rule says how long an id has to be."""
    error = cli("jobs", "show", job_id, "--json", code=1).error
    assert error["field"] == "ID"
    assert "hexadecimal" in error["rule"]


def test_ids_of_nothing_are_not_found(cli: Cli) -> None:
    """Whole ids and their ends get the same answer."""
    for job_id in ("0198c7c0-0000-7000-8000-000000000000", "00000000"):
        assert cli("jobs", "show", job_id, "--json", code=1).error["code"] == "not_found"


def test_jobs_of_another_tenant_are_not_found(cli: Cli) -> None:
    """A tenant cannot even learn that an id exists."""
    cli("tenants", "create", "other", *WHY)
    job_id = cli("dispatch", "sample.ok", "--payload", '{"text": "x"}', *WHY, "--json").json["job_id"]
    for reference in (job_id, job_id[-8:]):
        assert cli("jobs", "show", reference, "--tenant", "other", "--json", code=1).error["code"] == "not_found"
        refused = cli("jobs", "cancel", reference, "--tenant", "other", *WHY, "--json", code=1).error
        assert refused["code"] == "not_found"
    assert cli("jobs", "list", "--tenant", "other", "--json").json["jobs"] == []


def test_several_at_once_are_answered_one_by_one(cli: Cli) -> None:
    """What can be done is done, what cannot is named, and the exit code says that something was refused."""
    job_id = cli("dispatch", "sample.ok", "--payload", '{"text": "x"}', "--delay", "99", *WHY, "--json").json["job_id"]
    answer = cli("jobs", "cancel", job_id, "0198c7c0-0000-7000-8000-000000000000", *WHY, "--json", code=1).json
    assert answer["jobs"][0]["status"] == "cancelled"
    assert answer["jobs"][1]["error"]["code"] == "not_found"


def test_a_tenant_name_is_taken_once_and_has_a_form(cli: Cli) -> None:
    """A second one of that name, the reserved one, and other forms are refused."""
    again = cli("tenants", "create", "acme", "--json", code=1).error
    assert (again["code"], again["field"]) == ("tenant_exists", "name")
    assert again["message"] == "tenant 'acme' exists already"
    assert cli("tenants", "create", "system", "--json", code=1).error["code"] == "protected_tenant"
    assert cli("tenants", "create", "Not A Slug", "--json", code=1).error["field"] == "name"


def test_a_cursor_of_another_form_is_refused(cli: Cli) -> None:
    """It is taken from the page before, not made up."""
    assert "after" in cli("jobs", "list", "--after", "nonsense", "--json", code=1).error["field"]


def test_wrong_words_are_usage_errors(cli: Cli) -> None:
    """Unknown commands, options and statuses end with exit code 2 and point to the help."""
    for words in (("jobs", "list", "--statsu", "x"), ("jobs", "lst"), ("jobs", "list", "--status", "done"), ("nope",)):
        error = cli(*words, "--json", code=2).error
        assert error["code"] == "usage"
        assert "--help" in (error["hint"] or "--help")
    assert "Traceback" not in cli("jobs", "show", code=2).err
    assert "error:" not in cli(code=2).err


def test_a_full_disk_says_how_far_a_batch_came(tmp_path: Path, sqlite_url: str) -> None:
    """What was taken in before stays, nothing is half written, and the next command works again."""
    cli = Cli(tmp_path, sqlite_url, JOBLEDGER_TENANT="acme", JOBLEDGER_APP=SAMPLE)
    cli("migrate")
    cli("tenants", "create", "acme", *WHY)
    cli("work", "--drain")
    lines = [json.dumps({"type": "sample.ok", "payload": {"text": "x" * 5_000}}) for _ in range(4_000)]
    (tmp_path / "batch.jsonl").write_text("\n".join(lines))
    command = f"ulimit -f 8192; exec {PROGRAM} dispatch --jsonl batch.jsonl --reason x --json"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **cli.variables}
    ended = subprocess.run(
        ["bash", "-c", f"trap '' XFSZ; {command}"], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    error = json.loads(ended.stderr.splitlines()[-1])["error"]
    assert (ended.returncode, error["code"]) == (4, "ledger_unavailable")
    settled = re.search(r"the first ([\d,]+) items were settled", error["hint"])
    assert settled is not None
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (taken,) = connection.execute("SELECT count(*) FROM open_jobs").fetchone()
    assert int(settled[1].replace(",", "")) <= taken < len(lines)
    cli("dispatch", "sample.ok", "--payload", '{"text": "x"}', *WHY)


def test_who_dispatched_by_hand_is_marked(cli: Cli) -> None:
    """Anybody can set JOBLEDGER_ACTOR; `jobs show` says so, as the history does."""
    job_id = cli("dispatch", "sample.ok", "--payload", '{"text": "x"}', *WHY, "--json").json["job_id"]
    assert "by test:operator (unauthenticated)" in cli("jobs", "show", job_id).out
    assert cli("jobs", "show", job_id, "--json").json["job"]["authenticated"] is False
