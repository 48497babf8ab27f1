"""Standard streams that nobody reads to the end, that are full or closed; and terminals, with controls of their own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.support.cli import PROGRAM, Cli

ANSWERS = [("jobs", "list"), ("jobs", "list", "--json"), ("audit", "actions"), ("stats", "--json")]
EVIL = "\x1b[2Jgone\x9b31m\u202e"


@pytest.fixture
def here(tmp_path: Path, sqlite_url: str) -> Cli:
    """The command line on a ledger with a tenant, whose creation speaks to terminals."""
    command = Cli(tmp_path, sqlite_url, JOBLEDGER_TENANT="acme", JOBLEDGER_ACTOR="test:operator")
    command("migrate")
    command("tenants", "create", "acme", "--reason", EVIL)
    return command


def said(cli: Cli, words: tuple[str, ...], stdout: int) -> tuple[int, str]:
    """The exit code and stderr of the program; with output buffered, as it mostly is."""
    ended = subprocess.run(
        [str(PROGRAM), *words], stdout=stdout, stderr=subprocess.PIPE, cwd=cli.directory, check=False, text=True,
        env={name: value for name, value in cli.environment().items() if name != "PYTHONUNBUFFERED"}, timeout=60,
    )  # fmt: skip
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("words", ANSWERS)
def test_who_has_read_enough_hears_no_complaint(here: Cli, words: tuple[str, ...]) -> None:
    """`| head -1`: the command did what it was asked for."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert said(here, words, writer) == (0, "")
    finally:
        os.close(writer)


@pytest.mark.parametrize("words", ANSWERS)
def test_a_full_disk_is_told_in_one_line(here: Cli, words: tuple[str, ...]) -> None:
    """Neither a traceback, nor success."""
    with Path("/dev/full").open("wb") as full:
        code, errors = said(here, words, full.fileno())
    assert code == 1 and "the answer was not written: No space left on device" in errors
    assert "Traceback" not in errors


def test_a_stdout_that_is_closed_takes_no_file(here: Cli) -> None:
    """What is asked is done; an export, which nobody could receive, is not begun."""

    def said_nowhere(*words: str) -> tuple[int, str]:
        ended = subprocess.run(
            ["sh", "-c", 'exec "$0" "$@" >&-', str(PROGRAM), *words], stderr=subprocess.PIPE, cwd=here.directory,
            env=here.environment(), check=False, text=True, timeout=60,
        )  # fmt: skip
        return ended.returncode, ended.stderr

    assert said_nowhere("jobs", "list") == (0, "")
    code, errors = said_nowhere("audit", "replay")
    assert code == 1 and "--output: stdout is closed" in errors
    topics = [json.loads(line)["topic"] for line in here("audit", "replay").out.splitlines()]
    assert topics == ["tenant.created"]


@pytest.mark.parametrize("form", ["jsonl", "cloudevents", "csv"])
def test_an_export_on_a_terminal_does_not_speak_to_it(here: Cli, form: str) -> None:
    """JSON says the same, escaped; in CSV marks stand for controls. What goes elsewhere has every byte as it is, and
    the manifest is of that."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [str(PROGRAM), "audit", "replay", "--format", form, "--type", "tenant.created"], cwd=here.directory,
        env=here.environment(), stdout=theirs, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        os.close(theirs)
        assert process.stderr is not None
        manifest = json.loads(process.stderr.read())
        shown = b""
        while not shown.endswith(b"\n") or (form == "csv" and shown.count(b"\n") < 2):
            shown += os.read(ours, 65_536)
        process.wait(60)
    os.close(ours)
    text = shown.decode()
    assert "gone" in text and not set(text) & {"\x1b", "\x9b", "\u202e"}
    if form == "jsonl":
        assert json.loads(text)["facts"]["reason"] == EVIL
    made = here("audit", "replay", "--format", form, "--type", "tenant.created", "--output", "a", "--json").json
    assert made["sha256"] == manifest["sha256"] and made["size_bytes"] == manifest["size_bytes"]
    assert "\u202e".encode() in (here.directory / "a").read_bytes()
