"""`jobledger audit` and what is recorded of reading, as auditors and operators meet them."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import pty
import re
import struct
import subprocess
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ
from typing import Any

import pytest

from jobledger.domain.errors import InvalidInput
from jobledger.infrastructure.audit_files import whole_file
from tests.support.cli import PROGRAM, Cli


def replayed(text: str) -> list[dict[str, Any]]:
    """The events of an export in JSON."""
    return [json.loads(line) for line in text.splitlines()]


def recorded(cli: Cli, topic: str) -> list[dict[str, Any]]:
    """The events of a topic, by an export of their own."""
    return replayed(cli("audit", "replay", "--type", topic).out)


def dispatched(cli: Cli, number: int = 1) -> str:
    """A job's id."""
    payload = json.dumps({"text": "hello", "number": number})
    job_id = cli("dispatch", "sample.ok", "--payload", payload, "--reason", "by hand", "--json").json["job_id"]
    assert isinstance(job_id, str)
    return job_id


def test_a_file_is_whole_and_has_a_manifest(cli: Cli) -> None:
    """Its hash is that of the bytes, in the manifest and in the ledger; `verify` says so."""
    dispatched(cli)
    cli("work", "--drain")
    made = cli("audit", "replay", "--output", "a.jsonl", "--reason", "audit 2026", "--json").json
    content = (cli.directory / "a.jsonl").read_bytes()
    assert made == json.loads((cli.directory / "a.jsonl.manifest.json").read_text(encoding="utf-8"))
    assert made["sha256"] == hashlib.sha256(content).hexdigest() and made["size_bytes"] == len(content)
    events = replayed(content.decode())
    topics = [event["topic"] for event in events]
    assert topics == ["tenant.created", "job.dispatched", "job.started", "job.progressed", "job.completed"]
    assert made["events"] == 5 and made["events_by_type"] == dict.fromkeys(sorted(topics), 1)
    assert (made["first_position"], made["last_position"]) == (events[0]["position"], events[-1]["position"])
    assert (made["tenant"], made["made_by"], made["horizon_reached"]) == ("acme", "test:operator", True)
    (begun,), (ended,) = recorded(cli, "audit.export_begun"), recorded(cli, "audit.exported")[:1]
    assert begun["id"] == made["recorded_as"] and begun["facts"]["reason"] == "audit 2026"
    assert ended["facts"]["sha256"] == made["sha256"] and ended["facts"]["events"] == 5
    assert "5 events, manifest and ledger agree" in cli("audit", "verify", "a.jsonl", "--recorded").out
    assert not list(cli.directory.glob("*.partial"))


def test_a_file_that_was_changed_is_found_out(cli: Cli) -> None:
    """Also where the manifest was changed with it: the ledger knows."""
    cli("audit", "replay", "--output", "a.jsonl")
    file, manifest = cli.directory / "a.jsonl", cli.directory / "a.jsonl.manifest.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("a customer", "no customer") + text, encoding="utf-8")
    found = cli("audit", "verify", "a.jsonl", "--json", code=1).json
    assert [trouble.partition(":")[0] for trouble in found["troubles"]] == ["sha256", "size_bytes", "events"]
    said = json.loads(manifest.read_text(encoding="utf-8"))
    forged = {**said, "sha256": found["sha256"], "events": 2, "size_bytes": file.stat().st_size}
    manifest.write_text(json.dumps(forged), encoding="utf-8")
    cli("audit", "verify", "a.jsonl")
    assert "the ledger says" in cli("audit", "verify", "a.jsonl", "--recorded", code=1).err


def test_two_exports_of_a_past_period_are_the_same_bytes(cli: Cli) -> None:
    """In every format, whatever was recorded since."""
    dispatched(cli)
    until = replayed(cli("audit", "replay").out)[-1]["recorded_at"]
    for form in ("jsonl", "cloudevents", "csv"):
        words = ("audit", "replay", "--to", until, "--format", form, "--bodies", "--output")
        cli(*words, f"first.{form}")
        dispatched(cli, number=2)
        cli(*words, f"second.{form}")
        first, second = (cli.directory / f"{name}.{form}" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes() != b""
        assert "1 event, as its manifest says" in cli("audit", "verify", second).out


def test_on_stdout_the_manifest_comes_last_on_stderr(cli: Cli) -> None:
    """One line, after all events; or in a file of its own."""
    dispatched(cli)
    answer = cli("audit", "replay", "--type", "job.*", "--bodies")
    (event,) = replayed(answer.out)
    assert json.loads(event["body"])["number"] == 1 and event["body_base64"] is None
    manifest = json.loads(answer.err.splitlines()[-1])
    assert manifest["sha256"] == hashlib.sha256(answer.out.encode()).hexdigest() and manifest["file"] is None
    assert cli("audit", "replay", "--manifest", "m.json").err == ""
    assert json.loads((cli.directory / "m.json").read_text(encoding="utf-8"))["events"] >= 2


def test_csv_is_for_spreadsheets(cli: Cli) -> None:
    """A header, a record an event, and no cell that is a formula."""
    cli("tenants", "create", "evil", "--reason", "@SUM(1)", "--display-name", "=cmd|' /C calc'!A0")
    text = cli("audit", "replay", "--tenant", "evil", "--format", "csv").out
    (record,) = csv.DictReader(text.splitlines())
    assert record["topic"] == "tenant.created" and json.loads(record["facts"])["reason"] == "@SUM(1)"
    actor = cli.with_variables(JOBLEDGER_ACTOR="=1+1")
    actor("audit", "replay", "--tenant", "evil")
    rows = list(csv.DictReader(cli("audit", "replay", "--tenant", "evil", "--format", "csv").out.splitlines()))
    assert [row["actor"] for row in rows if row["topic"] == "audit.exported"][1:] == ["'=1+1"]


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("--type", "jobs.*"), "--type"), (("--tenant", "nobody"), "--tenant"), (("--from", "yesterday"), "--from"),
        (("--from", "1h", "--to", "2h"), "--to"), (("--output", "no/such/place"), "--output"),
        (("--type", "JOB"), "--type"), (("--actor", ""), "--actor"), (("--tenant", "No Slug"), "--tenant"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(cli: Cli, words: tuple[str, ...], field: str) -> None:
    """With the option as it was typed, and nothing left behind."""
    assert cli("audit", "replay", *words, "--json", code=1).error["field"] == field
    assert not list(cli.directory.glob("*.partial"))


def test_refusals_say_what_to_do(cli: Cli) -> None:
    """In the words of the command line, not in those of the program."""
    swapped = cli("audit", "replay", "--from", "1d", "--to", "2d", "--json", code=1).error
    assert "ends before it begins" in swapped["message"] and "--from 7d --to 1d" in swapped["hint"]
    near = cli("audit", "replay", "--type", "job.faild", "--json", code=1).error
    assert "did you mean job.failed" in near["hint"]
    wrong = cli("audit", "replay", "--type", "job failed", "--json", code=1).error
    assert "'job failed'" in wrong["message"] and "job.*" in wrong["rule"]
    page = cli("audit", "actions", "--after", "nonsense", "--json", code=1).error
    assert page["field"] == "--after" and "next page" in page["hint"]


def test_no_file_is_replaced(cli: Cli) -> None:
    """Neither an export nor a manifest that is there already, and nothing is recorded."""
    Path(cli.directory, "a.jsonl").write_text("mine", encoding="utf-8")
    error = cli("audit", "replay", "--output", "a.jsonl", "--json", code=1).error
    assert "is there already" in error["message"] and (cli.directory / "a.jsonl").read_text() == "mine"
    assert recorded(cli, "audit.exported") == []


def test_actions_tell_who_did_what_and_why(cli: Cli) -> None:
    """With the ticket; page by page; for people and programs."""
    job_id = dispatched(cli)
    cli("jobs", "cancel", job_id, "--reason", "not needed")
    cli("limits", "pause", "--queue", "mail", "--reason", "provider down")
    told = cli("audit", "actions", "--json").json["acts"]
    assert [(act["tenant"], act["act"], act["reason"]) for act in told] == [
        ("acme", "created", "a customer"), ("acme", "dispatched by hand", "by hand"),
        ("acme", "cancelled", "not needed"), ("system", "paused", "provider down"),
    ]  # fmt: skip
    assert told[2]["job_id"] == job_id and told[2]["subject"] == f"job {job_id}"
    (only,) = cli("audit", "actions", "--tenant", "system", "--json").json["acts"]
    assert only["subject"] == "queue mail" and only["actor"] == "test:operator"
    page = cli("audit", "actions", "--limit", "1", "--json").json
    rest = cli("audit", "actions", "--after", page["next"], "--json").json
    assert [*page["acts"], *rest["acts"]] == told and rest["next"] is None
    shown = cli("audit", "actions", "--limit", "3").out
    assert "cancelled job" in shown and "not needed" in shown and "next page: jobledger audit actions" in shown
    nothing = cli("audit", "actions", "--actor", "nobody").out.splitlines()
    assert nothing[0] == "no manual acts match" and " UTC, position " in nothing[1]


def test_a_look_at_a_payload_is_recorded(cli: Cli) -> None:
    """`jobs show` shows it as before; without bodies, nothing is recorded."""
    job_id = dispatched(cli)
    assert '"number": 1' in cli("jobs", "show", job_id).out
    assert '"number": 1' not in cli("jobs", "show", job_id, "--no-bodies").out
    cli("jobs", "list")
    cli("jobs", "history", job_id)
    (read,) = recorded(cli, "audit.bodies_read")
    assert read["facts"] == {"job_id": job_id, "versions": [1]} and read["actor"] == "test:operator"
    cli("jobs", "history", job_id, "--bodies")
    assert [event["facts"]["job_id"] for event in recorded(cli, "audit.bodies_read")] == [job_id, job_id]


def test_an_export_takes_nobodys_place(cli: Cli) -> None:
    """Not that of a link which leads nowhere (yet), nor of a file that came while it was written."""
    (cli.directory / "a.jsonl").symlink_to(cli.directory / "nowhere")
    refused = cli("audit", "replay", "--output", "a.jsonl", code=1)
    assert "is there already" in refused.err and (cli.directory / "a.jsonl").is_symlink()
    path = cli.directory / "b.jsonl"
    with whole_file(path) as (stream, publish):
        stream.write(b"ours")
        path.write_bytes(b"theirs")
        with pytest.raises(InvalidInput, match="is there already"):
            publish()
    assert path.read_bytes() == b"theirs" and not list(cli.directory.glob("*.partial"))


def test_an_export_is_for_its_owner_only(cli: Cli) -> None:
    """The file and its manifest: it is customers' data, whatever the umask."""
    cli("audit", "replay", "--bodies", "--output", "a.jsonl")
    for name in ("a.jsonl", "a.jsonl.manifest.json"):
        assert (cli.directory / name).stat().st_mode & 0o777 == 0o600


def test_a_stdout_that_takes_no_more_is_an_error_of_one_line(cli: Cli) -> None:
    """No traceback, no manifest; the ledger knows that this export broke off. With output buffered, as it mostly is."""
    buffered = {name: value for name, value in cli.environment().items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [str(PROGRAM), "audit", "replay"], stdout=full, stderr=subprocess.PIPE, cwd=cli.directory,
            env=buffered, check=False, text=True, timeout=60,
        )  # fmt: skip
    assert ended.returncode == 1 and ended.stderr.startswith("error: --output: stdout was not written: No space left")
    assert recorded(cli, "audit.exported") == [] and len(recorded(cli, "audit.export_begun")) == 2


def test_who_reads_a_part_of_an_export_hears_no_complaint(cli: Cli) -> None:
    """`| head -1`: no traceback, and no manifest of what was not read."""
    for number in range(3):
        dispatched(cli, number=number)
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [str(PROGRAM), "audit", "replay"], stdout=writer, stderr=subprocess.PIPE, cwd=cli.directory,
        env=cli.environment(), check=False, text=True, timeout=60,
    )  # fmt: skip
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_reasons_do_not_speak_to_the_terminal(cli: Cli) -> None:
    """They are shown with their controls replaced; JSON has them escaped, exports as they are."""
    reason = "\x1b[2Jgone\x9b31m"
    cli("tenants", "suspend", "acme", "--reason", reason)
    shown = cli("audit", "actions").out
    assert "gone" in shown and not set(shown) & {"\x1b", "\x9b"}
    acts = cli("audit", "actions", "--json").json["acts"]
    assert reason in [act["reason"] for act in acts]


def test_acts_can_be_read_on_a_narrow_terminal(cli: Cli) -> None:
    """Where there is no room beside, the reason and the ticket stand below the act, whole."""
    job_id = dispatched(cli)
    why = " ".join(["the customer does not need it any more"] * 3)
    cli("jobs", "cancel", job_id, "--reason", why)
    shown = on_terminal(cli, 80, "audit", "actions")
    assert f"cancelled job {job_id[-8:]}" in shown and why in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80


def on_terminal(cli: Cli, columns: int, *words: str) -> str:
    """What the program shows on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        [str(PROGRAM), *words], cwd=cli.directory, env={**cli.environment(), "NO_COLOR": "1", "TERM": "xterm"},
        stdout=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the end of a terminal that nobody writes to any more
            while content := os.read(ours, 65_536):
                shown += content
        assert process.wait(60) == 0
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m|\r", "", shown.decode())
