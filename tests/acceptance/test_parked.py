"""Events that views cannot take, through the command line: a stored event is damaged, the lists go on without it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from uuid import UUID

import psycopg
import pytest

from jobledger import Actor, Ledger
from jobledger.application.projection_messages import FailedEvent, SkipParked
from tests.support.cli import Cli

DAMAGED = b'{"no":"metadata"}\n{damaged'
WHY = ("--reason", "INC-7: the event is damaged")
VIEW = "tenant_jobs"


@pytest.fixture
def damaged(cli: Cli) -> tuple[Cli, UUID, bytes]:
    """A ledger on which a job and another one ran before the lists looked; that the first one started was damaged
    meanwhile. The command line, the job, and what was stored."""
    first = UUID(dispatch(cli, "first"))
    dispatch(cli, "second")
    cli("work", "--drain", "--without-projections")
    before = store(cli, first, 2, DAMAGED)
    cli("work", "--drain")
    return cli, first, before


def dispatch(cli: Cli, text: str) -> str:
    """A job for a persona; its id."""
    line = json.dumps({"type": "sample.ok", "persona": "bot", "payload": {"text": text, "number": 1}})
    cli("dispatch", "--jsonl", "-", "--reason", "a test", stdin=line)
    jobs = cli("jobs", "list", "--json").json["jobs"]
    return str(jobs[0]["job_id"])


def store(cli: Cli, job: UUID, version: int, state: bytes) -> bytes:
    """Replace what is stored of an event, behind the ledger's back; what stood there before."""
    url, found = cli.variables["JOBLEDGER_DATABASE"], "WHERE originator_id = {0} AND originator_version = {0}"
    if url.startswith("sqlite"):
        where = found.format("?")
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file, file:
            (before,) = file.execute(f"SELECT state FROM ledger {where}", (job.bytes, version)).fetchone()
            file.execute(f"UPDATE ledger SET state = ? {where}", (state, job.bytes, version))
        return bytes(before)
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT state FROM jobledger.ledger WHERE originator_id = %s AND originator_version = %s", (job, version)
        ).fetchone()
        connection.execute(
            "UPDATE jobledger.ledger SET state = %s WHERE originator_id = %s AND originator_version = %s",
            (state, job, version),
        )
    assert row is not None
    return bytes(row[0])


def parked(cli: Cli, *words: str) -> list[tuple[str, bool]]:
    """What is parked of the view: event, and whether it failed."""
    events = cli("projections", "parked", VIEW, *words, "--json").json["events"]
    return [(event["event_id"], event["error"] is not None) for event in events]


def statuses(cli: Cli) -> list[str]:
    """The statuses in the list, oldest job first."""
    return [job["status"] for job in reversed(cli("jobs", "list", "--json").json["jobs"])]


def test_the_list_goes_on_and_says_what_it_misses(damaged: tuple[Cli, UUID, bytes]) -> None:
    """The other job is in the list as it is; the damaged event is named with its error, in the order of the view."""
    cli, job, _ = damaged
    assert statuses(cli) == ["pending", "completed"]
    assert parked(cli) == [(f"{job}.2", True)]
    assert parked(cli, "--waiting") == [(f"{job}.2", True), (f"{job}.3", False), (f"{job}.4", False)]
    answer = cli("projections", "parked", VIEW, "--json").json
    assert answer["projections"] == {VIEW: {"failed": 1, "waiting": 2}}
    assert answer["events"][0]["error"].startswith("CorruptEvent: ")
    said = cli("projections", "parked", VIEW).out
    assert f"{job.hex[-8:]}.2" in said
    assert "1 event is parked, 2 wait behind it" in said
    assert f"jobledger projections retry-parked {VIEW}" in said


def test_check_names_what_is_parked(damaged: tuple[Cli, UUID, bytes]) -> None:
    """It is not well: exit code 1."""
    cli, _, _ = damaged
    health = cli("check", "--json", code=1).json
    assert health["healthy"] is False
    counts = {view["name"]: (view["parked"], view["waiting"]) for view in health["projections"]}
    assert counts[VIEW] == (1, 2)
    assert counts["dlq_jobs"] == (0, 0)
    said = cli("check", code=1).out
    assert "1 event is parked, 2 wait behind it" in said and "jobledger projections parked" in said


def test_what_can_be_read_again_is_taken(damaged: tuple[Cli, UUID, bytes]) -> None:
    """Retried too early it fails again, and says so with its exit code; once repaired, nothing is missing any more."""
    cli, job, before = damaged
    again = cli("projections", "retry-parked", VIEW, code=1).out
    assert "took 0 events" in again and f"failed again: {job.hex[-8:]}.2 job.started" in again
    assert statuses(cli) == ["pending", "completed"]
    store(cli, job, 2, before)
    answer = cli("projections", "retry-parked", VIEW, "--json").json
    assert answer == {
        "projection": VIEW, "taken": 3, "skipped": 0, "failed": [], "still_parked": {"failed": 0, "waiting": 0},
    }  # fmt: skip
    assert statuses(cli) == ["completed", "completed"]
    for view in cli("projections", "parked", "--json").json["projections"]:
        cli("projections", "retry-parked", view)
    assert cli("projections", "parked").out.strip() == "nothing is parked"
    assert cli("projections", "retry-parked", VIEW).out.strip() == f"nothing of {VIEW} is parked"
    assert cli("check", "--json").json["healthy"] is True


def test_an_event_is_skipped_with_a_reason(damaged: tuple[Cli, UUID, bytes]) -> None:
    """The view goes on without it and takes what waited; without a reason nothing is done."""
    cli, job, _ = damaged
    event = f"{job.hex[-8:]}.2"
    assert cli("projections", "skip-parked", VIEW, event, "--json", code=1).error["code"] == "reason_required"
    assert statuses(cli) == ["pending", "completed"]
    said = cli("projections", "skip-parked", VIEW, event, *WHY).out
    assert "took 2 events, goes on without 1 event" in said and "nothing of it is parked any more" in said
    assert statuses(cli) == ["completed", "completed"]
    assert parked(cli) == []


def test_a_skip_that_was_interrupted_is_honoured(damaged: tuple[Cli, UUID, bytes]) -> None:
    """Recorded, but not carried out because the process died: the next retry leaves the event out."""
    cli, job, _ = damaged
    with Ledger.open(cli.variables["JOBLEDGER_DATABASE"]) as ledger:
        decided = FailedEvent(originator_id=job, originator_version=2, error="CorruptEvent")
        ledger._handle.dispatcher.send(
            SkipParked, actor=Actor(id="test:operator"), projection=VIEW, events=(decided,), reason="INC-7"
        ).unwrap()
    assert cli("projections", "retry-parked", VIEW, "--json").json["skipped"] == 1
    assert statuses(cli) == ["completed", "completed"]


def test_a_job_without_its_birth_is_not_shown_until_that_is_taken_back(cli: Cli) -> None:
    """Skipping the first event of a job leaves out all that needs its row, also what comes later; it is said what the
    view goes without, and by whom. Taken back, with the event readable again, a rebuild shows the job."""
    payload = ("--payload", '{"text": "x", "number": 1}')
    job = UUID(cli("dispatch", "sample.ok", *payload, "--reason", "a test", "--json").json["job_id"])
    before = store(cli, job, 1, DAMAGED)
    assert statuses(cli) == [] and parked(cli) == [(f"{job}.1", True)]
    event = f"{job.hex[-8:]}.1"
    assert "goes on without 1 event" in cli("projections", "skip-parked", VIEW, event, *WHY).out
    cli("work", "--drain")
    assert (statuses(cli), parked(cli, "--waiting")) == ([], [])
    said = cli("projections", "parked", VIEW).out
    assert f"{VIEW} goes without 1 event that people skipped" in said and "test:operator" in said and WHY[1] in said
    (skip,) = cli("projections", "parked", VIEW, "--json").json["skipped"]
    assert (skip["event_id"], skip["actor"], skip["reason"]) == (f"{job}.1", "test:operator", WHY[1])
    counts = {one["projection"]: one["skipped"] for one in cli("projections", "status", "--json").json["views"]}
    assert counts[VIEW] == 1 and counts["queue_statistics"] == 0
    assert f"{VIEW} goes without 1 event" in cli("projections", "status").out
    cli("projections", "rebuild", VIEW, *WHY)
    assert (statuses(cli), parked(cli)) == ([], [])

    store(cli, job, 1, before)
    assert cli("projections", "unskip", VIEW, event, "--json", code=1).error["code"] == "reason_required"
    assert f"jobledger projections rebuild {VIEW}" in cli("projections", "unskip", VIEW, event, *WHY).out
    assert cli("projections", "unskip", VIEW, event, *WHY, "--json", code=1).error["code"] == "not_found"
    cli("projections", "rebuild", VIEW, *WHY)
    assert statuses(cli) == ["completed"]
    assert cli("projections", "parked", VIEW, "--json").json["skipped"] == []


@pytest.mark.parametrize(
    ("event", "code"),
    [("nonsense", "invalid_input"), ("00000000.2", "not_found"), ("the second", "invalid_input")],
)
def test_only_what_failed_can_be_named(damaged: tuple[Cli, UUID, bytes], event: str, code: str) -> None:
    """What is no event's id, or of an event that the view did not fail to take, is refused."""
    cli, _, _ = damaged
    assert cli("projections", "skip-parked", VIEW, event, *WHY, "--json", code=1).error["code"] == code


def test_what_waits_cannot_be_skipped(damaged: tuple[Cli, UUID, bytes]) -> None:
    """It did not fail: it comes with what it waits behind."""
    cli, job, _ = damaged
    refused = cli("projections", "skip-parked", VIEW, f"{job}.3", *WHY, "--json", code=1).error
    assert refused["code"] == "not_found" and "waits behind" in refused["hint"]


def test_a_view_that_is_not_there_is_not_found(cli: Cli) -> None:
    """The answer names those that are."""
    for words in (("parked", "tenant_job"), ("retry-parked", "tenant_job"), ("skip-parked", "tenant_job", "1.2")):
        refused = cli("projections", *words, "--json", code=1).error
        assert refused["code"] == "not_found" and VIEW in refused["hint"]
