"""Views through the command line: how they stand, verified, rebuilt, given up."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from jobledger import Ledger
from jobledger.application.message import Actor
from jobledger.application.projection_messages import DropPrevious
from jobledger.domain.errors import NotFound
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.projection import projection_stream
from jobledger.infrastructure import rebuilding
from jobledger.infrastructure.bootstrap import LedgerHandle
from jobledger.infrastructure.rebuilding import rebuild_ports
from jobledger.projections.beginning import Wanted, begin_or_join
from jobledger.projections.catalogue import PROJECTIONS
from jobledger.projections.shadow import Purpose, RebuildState, Scope
from tests.support.cli import Cli
from tests.support.seen import Cut
from tests.support.shadows import Dying

VIEW = "tenant_jobs"
WHY = ("--reason", "INC-9: somebody edited a row")


@pytest.fixture
def jobs(cli: Cli) -> list[UUID]:
    """Three jobs that ran, the last one first, and a fourth that nobody has run yet."""
    lines = [json.dumps({"type": "sample.ok", "payload": {"text": "x", "number": n}}) for n in range(3)]
    cli("dispatch", "--jsonl", "-", *WHY, stdin="\n".join(lines))
    cli("work", "--drain")
    cli("dispatch", "sample.ok", "--payload", '{"text": "y", "number": 4}', *WHY)
    return [UUID(job["job_id"]) for job in cli("jobs", "list", "--json").json["jobs"]]


def damage(cli: Cli, job: UUID, *, view: str = VIEW) -> None:
    """Edit a row by hand, as somebody with a database client does."""
    url = cli.variables["JOBLEDGER_DATABASE"]
    if url.startswith("sqlite"):
        edit = f"UPDATE {view} SET priority = 77, queue = 'mine' WHERE job_id = ?"
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file, file:
            assert file.execute(edit, (job.bytes,)).rowcount == 1
        return
    with psycopg.connect(url) as connection:
        edit = f"UPDATE jobledger.{view} SET priority = 77, queue = 'mine' WHERE job_id = %s"
        assert connection.execute(edit.encode(), (job,)).rowcount == 1


def priorities(cli: Cli) -> list[int]:
    """Of the jobs in the list, the newest first."""
    return [job["priority"] for job in cli("jobs", "list", "--json").json["jobs"]]


def recorded(cli: Cli, name: str = VIEW) -> list[dict[str, Any]]:
    """What the ledger says was done to the view."""
    with Ledger.open(cli.variables["JOBLEDGER_DATABASE"]) as ledger:
        events = ledger._handle.ports.reader.stream(SYSTEM_TENANT, projection_stream(name))
    return [{"topic": e.topic, "actor": e.metadata.actor, **e.facts.model_dump(mode="json")} for e in events]


def begin(cli: Cli, purpose: Purpose = Purpose.REBUILD) -> str:
    """A rebuild whose process died right after it had begun; its id."""
    with Ledger.open(cli.variables["JOBLEDGER_DATABASE"]) as ledger:
        ports = rebuild_ports(ledger._handle, Actor(id="test:ana"))
        wanted = Wanted(uuid4(), PROJECTIONS[VIEW], purpose, Scope(), "test:ana", "a drill")
        return str(begin_or_join(ports, wanted).rebuild.rebuild_id)


def view(cli: Cli, name: str = VIEW) -> dict[str, Any]:
    """What `projections status` says of a view."""
    found: dict[str, dict[str, Any]] = {
        one["projection"]: one for one in cli("projections", "status", "--json").json["views"]
    }
    return found[name]


def test_a_rebuild_mends_a_row_that_was_edited_by_hand(cli: Cli, jobs: list[UUID]) -> None:
    """The row, its columns and both values are listed; afterwards the list is right, and the act is on record."""
    damage(cli, jobs[1])
    assert 77 in priorities(cli)
    said = cli("projections", "rebuild", VIEW, *WHY)
    assert "1 row differed: the view had 4 rows, the ledger says 4 rows, at position" in said.out
    lines = [line.split() for line in said.out.splitlines()]
    assert [str(jobs[1]), "queue", "mine", "default"] in lines and ["priority", "77", "0"] in lines
    assert "jobledger projections drop-previous tenant_jobs" in said.out
    assert "filling" in said.err
    assert priorities(cli) == [0, 0, 0, 0]
    begun, ended = recorded(cli)
    assert (begun["topic"], begun["actor"], begun["reason"]) == ("projection.rebuild_begun", "test:operator", WHY[1])
    assert (ended["topic"], ended["swapped"], ended["differing"]) == ("projection.rebuilt", True, 1)
    assert (ended["rows_before"], ended["rows_after"], ended["events"] > 8) == (4, 4, True)
    assert ended["digest_before"] != ended["digest_after"]


def test_the_answer_for_programs(cli: Cli, jobs: list[UUID]) -> None:
    """Names and units are an interface."""
    damage(cli, jobs[0])
    answer = cli("projections", "rebuild", VIEW, *WHY, "--json")
    shape = answer.json
    assert {name: shape[name] for name in ("projection", "purpose", "swapped", "resumed", "differing", "parked")} == {
        "projection": VIEW, "purpose": "rebuild", "swapped": True, "resumed": False, "differing": 1, "parked": 0,
    }  # fmt: skip
    (difference,) = shape["differences"]
    assert difference["key"] == {"job_id": str(jobs[0])}
    assert difference["columns"] == ["queue", "priority"]
    assert (difference["live"]["priority"], difference["fresh"]["priority"]) == (77, 0)
    assert answer.err == ""


def test_verifying_finds_a_difference_and_changes_nothing(cli: Cli, jobs: list[UUID]) -> None:
    """Exit code 1 where rows differ, 0 where the view is what the ledger says; nothing is recorded or kept."""
    assert "the view was what the ledger says: 4 rows" in cli("projections", "verify", VIEW).out
    damage(cli, jobs[0])
    assert cli("projections", "verify", VIEW, "--json", code=1).json["differing"] == 1
    assert 77 in priorities(cli)
    assert recorded(cli) == []
    assert (view(cli)["shadow_rows"], view(cli)["previous_rows"], view(cli)["rebuild"]) == (None, None, None)


@pytest.mark.parametrize(
    "words", [("--workers", "2"), ("--cores", "0.5"), ("--throttle", "--workers", "2")], ids=" ".join
)
def test_verifying_shares_its_work_and_gives_way(cli: Cli, jobs: list[UUID], words: tuple[str, ...]) -> None:
    """With several processes, or with a part of a core: the answer is the same."""
    damage(cli, jobs[0])
    assert cli("projections", "verify", VIEW, *words, "--json", code=1).json["differing"] == 1


def test_a_dry_run_leaves_the_view_as_it_is(cli: Cli, jobs: list[UUID]) -> None:
    """It says what a rebuild would change; the live rows stay, and it is on record that nothing was swapped."""
    damage(cli, jobs[0])
    said = cli("projections", "rebuild", VIEW, "--dry-run", *WHY).out
    assert (
        "nothing was changed" in said and "1 row differed: the view had 4 rows" in said and "drop-previous" not in said
    )
    assert 77 in priorities(cli)
    begun, ended = recorded(cli)
    assert begun["dry_run"] and not ended["swapped"]


def test_the_previous_version_is_kept_until_somebody_drops_it(cli: Cli, jobs: list[UUID]) -> None:
    """It shows in the status; dropping needs a reason, is recorded, and happens once."""
    cli("projections", "rebuild", VIEW, *WHY)
    kept = view(cli)
    assert kept["previous_kept"] is True and kept["previous_rows"] in {None, len(jobs)}  # none yet, on PostgreSQL
    shown = next(line.split() for line in cli("projections", "status").out.splitlines() if line.startswith(VIEW))
    assert not {"unknown", "4"}.isdisjoint(shown) and "0" not in shown[6:7], "the number is right, or not there"
    assert cli("projections", "drop-previous", VIEW, "--json", code=1).error["code"] == "reason_required"
    assert "4 rows" in cli("projections", "drop-previous", VIEW, *WHY).out
    assert (view(cli)["previous_kept"], view(cli)["previous_rows"]) == (False, None)
    assert recorded(cli)[-1]["topic"] == "projection.previous_dropped"
    assert cli("projections", "drop-previous", VIEW, *WHY, "--json", code=1).error["code"] == "not_found"


def test_a_drop_whose_process_died_is_recorded_once(cli: Cli, jobs: list[UUID]) -> None:
    """The act is recorded before it is done: whoever died in between is on record, and does it again without another
    record. After the next rebuild it is another act."""
    cli("projections", "rebuild", VIEW, *WHY)
    with Ledger.open(cli.variables["JOBLEDGER_DATABASE"]) as ledger:
        died = {"projection": VIEW, "rows": len(jobs), "reason": "INC-9"}
        ledger._handle.dispatcher.send(DropPrevious, actor=Actor(id="test:ana"), **died).unwrap()
    assert "4 rows" in cli("projections", "drop-previous", VIEW, *WHY).out
    dropped = [act for act in recorded(cli) if act["topic"] == "projection.previous_dropped"]
    assert [(act["actor"], act["rows"]) for act in dropped] == [("test:ana", 4)]
    cli("projections", "rebuild", VIEW, *WHY)
    cli("projections", "drop-previous", VIEW, *WHY)
    assert [act["actor"] for act in recorded(cli) if act["topic"] == "projection.previous_dropped"] == [
        "test:ana", "test:operator",
    ]  # fmt: skip


@pytest.mark.parametrize("act", ["drop_previous", "cancel_rebuild"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_whoever_dies_when_an_act_is_recorded_once(cli: Cli, jobs: list[UUID], act: str, *, after: bool) -> None:
    """Killed before or after each call to the storage and to the ledger in turn: once somebody tries again, it is done,
    and stands in the ledger once."""
    topics = {"drop_previous": "projection.previous_dropped", "cancel_rebuild": "projection.rebuild_cancelled"}
    done, at, died = 0, 0, True
    while died:
        at, died, done = at + 1, False, done + 1
        if act == "drop_previous":
            cli("projections", "rebuild", VIEW, *WHY)
        with Ledger.open(cli.variables["JOBLEDGER_DATABASE"]) as ledger:
            handle, actor = ledger._handle, Actor(id="test:ana")
            if act == "cancel_rebuild":
                begin_recorded(handle, actor)
            calls: list[str] = []
            shadows: Any = Dying(handle.shadows, at, after=after, calls=calls)
            dispatcher: Any = Dying(handle.dispatcher, at, after=after, calls=calls)
            dying = replace(handle, shadows=shadows, dispatcher=dispatcher)
            try:
                getattr(rebuilding, act)(dying, actor, VIEW, "INC-9")
            except Cut:
                died = True
            with suppress(NotFound):  # it was done
                getattr(rebuilding, act)(handle, actor, VIEW, "INC-9, again")
            assert handle.shadows.previous_rows(VIEW) is None and handle.shadows.unfinished(VIEW) is None
        assert [one["topic"] for one in recorded(cli)].count(topics[act]) == done
    assert at > 3 and len(jobs) == 4


def begin_recorded(handle: LedgerHandle, actor: Actor) -> None:
    """A rebuild that is on record as begun, and that nobody works on."""
    ports = rebuild_ports(handle, actor)
    wanted = Wanted(uuid4(), PROJECTIONS[VIEW], Purpose.REBUILD, Scope(), "test:ana", "a drill")
    begun = begin_or_join(ports, wanted).rebuild
    ports.shadows.note(begun, begun.state, begun_version=ports.records.begun(begun))


def test_what_a_removed_view_left_behind_is_given_up_and_dropped_by_name(cli: Cli) -> None:
    """A program that does not have the view any more cancels its rebuild, with actor and reason, and its tables go."""
    removed = PROJECTIONS[VIEW]._replace(name="former_jobs")
    with Ledger.open(cli.variables["JOBLEDGER_DATABASE"]) as ledger:
        ports = rebuild_ports(ledger._handle, Actor(id="test:ana"))
        wanted = Wanted(uuid4(), removed, Purpose.REBUILD, Scope(), "test:ana", "a drill")
        begun = begin_or_join(ports, wanted).rebuild
        ports.shadows.note(begun, begun.state, begun_version=ports.records.begun(begun))
    assert "former_jobs" in cli("projections", "status").out
    assert cli("projections", "status", "--json").json["others"][0]["rebuild_id"] == str(begun.rebuild_id)
    assert cli("projections", "cancel", "former_jobs", "--json", code=1).error["code"] == "reason_required"
    assert "the live view is as it was" in cli("projections", "cancel", "former_jobs", *WHY).out
    acts = recorded(cli, "former_jobs")
    assert [(act["topic"], act["actor"]) for act in acts] == [
        ("projection.rebuild_begun", "test:ana"), ("projection.rebuild_cancelled", "test:operator"),
    ]  # fmt: skip
    assert acts[1]["reason"] == WHY[1]
    assert cli("projections", "status", "--json").json["others"] == []
    assert tables_like(cli, "former_jobs") == []
    for words in (("cancel", "former_jobs"), ("drop-previous", "former_jobs"), ("cancel", "former jobs")):
        assert cli("projections", *words, *WHY, "--json", code=1).error["code"] == "not_found"


def tables_like(cli: Cli, begin: str) -> list[str]:
    """The tables whose names begin so."""
    url = cli.variables["JOBLEDGER_DATABASE"]
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            names = file.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    else:
        with psycopg.connect(url) as connection:
            names = connection.execute("SELECT relname::text FROM pg_class WHERE relkind = 'r'").fetchall()
    return [name for (name,) in names if name.startswith(begin)]


def test_a_cancel_whose_process_died_is_recorded_by_the_next(cli: Cli, jobs: list[UUID]) -> None:
    """Given up, but dead before that was recorded: the next act on the view records it, once, with its reason."""
    begun = UUID(begin(cli))
    with Ledger.open(cli.variables["JOBLEDGER_DATABASE"]) as ledger:
        ports = rebuild_ports(ledger._handle, Actor(id="test:ana"))
        rebuild = ports.shadows.get(begun)
        rebuild = ports.shadows.note(rebuild, rebuild.state, begun_version=ports.records.begun(rebuild))
        ports.shadows.note(rebuild, RebuildState.CANCELLED, error="too slow")
    cli("projections", "cancel", VIEW, *WHY, code=1)
    cli("projections", "rebuild", VIEW, *WHY)
    assert [(act["topic"], act["reason"]) for act in recorded(cli) if "reason" in act] == [
        ("projection.rebuild_begun", "a drill"), ("projection.rebuild_cancelled", "too slow"),
        ("projection.rebuild_begun", WHY[1]),
    ]  # fmt: skip
    assert len(jobs) == 4


@pytest.mark.parametrize("name", list(PROJECTIONS))
def test_every_view_is_verified_and_rebuilt(cli: Cli, jobs: list[UUID], name: str) -> None:
    """Also those whose rows are made of many jobs, and with several processes."""
    assert len(jobs) == 4
    answer = cli("projections", "rebuild", name, "--workers", "2", *WHY, "--json").json
    assert (answer["swapped"], answer["differing"]) == (True, 0)
    assert cli("projections", "verify", name, "--json").json["rows_before"] == answer["rows_after"]


def test_one_tenant_or_one_job_is_rebuilt_alone(cli: Cli, jobs: list[UUID]) -> None:
    """Other rows keep their damage, and there is no previous version of a part."""
    for job in jobs[:2]:
        damage(cli, job)
    assert cli("projections", "rebuild", VIEW, "--job", jobs[0].hex[-8:], *WHY, "--json").json["differing"] == 1
    assert priorities(cli) == [0, 77, 0, 0]
    assert cli("projections", "verify", VIEW, "--tenant", SYSTEM_TENANT, "--json").json["rows_before"] == 0
    assert cli("projections", "rebuild", VIEW, "--tenant", "acme", *WHY, "--json").json["differing"] == 1
    assert priorities(cli) == [0, 0, 0, 0]
    assert view(cli)["previous_rows"] is None
    assert [act.get("of_tenant") for act in recorded(cli) if act["topic"] == "projection.rebuild_begun"] == [
        "acme", "acme",
    ]  # fmt: skip


def test_a_rebuild_whose_process_died_is_gone_on_with(cli: Cli, jobs: list[UUID]) -> None:
    """The same command says that it goes on, with whose; it is recorded under who began it, once."""
    begun = begin(cli)
    shown = view(cli)["rebuild"]
    assert (shown["rebuild_id"], shown["state"], shown["fraction"]) == (begun, "filling", 0.0)
    assert "rebuild of tenant_jobs: filling 0%" in cli("projections", "status").out
    damage(cli, jobs[2])
    said = cli("projections", "rebuild", VIEW, *WHY)
    assert "going on with the rebuild of tenant_jobs that test:ana began at" in said.err
    assert "1 row differed: the view had 4 rows" in said.out
    assert [act["topic"] for act in recorded(cli)] == ["projection.rebuild_begun", "projection.rebuilt"]
    assert recorded(cli)[0]["reason"] == "a drill"


def test_another_kind_of_rebuild_is_refused_until_it_is_given_up(cli: Cli, jobs: list[UUID]) -> None:
    """With both ways on; giving up leaves the live view as it is, and is recorded."""
    begin(cli, Purpose.DRY_RUN)
    damage(cli, jobs[0])
    error = cli("projections", "rebuild", VIEW, *WHY, "--json", code=1).error
    assert error["code"] == "rebuild_under_way"
    assert "--dry-run" in error["hint"] and "jobledger projections cancel tenant_jobs" in error["hint"]
    assert cli("projections", "cancel", VIEW, "--json", code=1).error["code"] == "reason_required"
    assert "the live view is as it was" in cli("projections", "cancel", VIEW, *WHY).out
    assert 77 in priorities(cli)
    assert (view(cli)["rebuild"], view(cli)["shadow_rows"]) == (None, None)
    assert cli("projections", "cancel", VIEW, *WHY, "--json", code=1).error["code"] == "not_found"
    assert cli("projections", "rebuild", VIEW, *WHY, "--json").json["resumed"] is False


def test_interrupted_it_stays_and_says_how_to_go_on(cli: Cli, jobs: list[UUID]) -> None:
    """Ctrl-C while a throttled rebuild rests: the exit code of an interrupt, both ways on, and the next one goes on."""
    assert len(jobs) == 4
    with cli.running("projections", "rebuild", VIEW, "--cores", "0.01", *WHY) as running:
        while not running.has_said("filling"):
            assert running.process.poll() is None
        answer = running.stop(signal.SIGINT)
    assert answer.code == 130, answer
    assert "the live view is as it was" in answer.err
    assert "jobledger projections rebuild tenant_jobs" in answer.err
    assert "jobledger projections cancel tenant_jobs" in answer.err
    assert cli("projections", "rebuild", VIEW, *WHY, "--json").json["resumed"] is True


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("rebuild", VIEW), "reason_required"),
        (("rebuild", VIEW, "--dry-run"), "reason_required"),
        (("rebuild", "no_such_view", *WHY), "not_found"),
        (("verify", "tenant_jobs__new"), "not_found"),
        (("rebuild", "queue_statistics", "--job", "00000000", *WHY), "not_found"),
        (("rebuild", "queue_statistics", "--tenant", "acme", *WHY), "invalid_input"),
        (("rebuild", "open_jobs", "--tenant", "acme", *WHY), "invalid_input"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else value,
)
def test_what_cannot_be_done_is_refused_with_what_can(cli: Cli, words: tuple[str, ...], code: str) -> None:
    """No reason, no such view, no such job, rows of several tenants: refused before anything is begun."""
    error = cli("projections", *words, "--json", code=1).error
    assert error["code"] == code and (error["hint"] or error["rule"])
    assert all(one["rebuild"] is None for one in cli("projections", "status", "--json").json["views"])


def test_the_work_queue_is_verified_like_a_view(cli: Cli, jobs: list[UUID]) -> None:
    """Compared with the ledger, while everybody works; rebuilt once no worker is alive."""
    assert len(jobs) == 4
    assert "the view was what the ledger says: 1 row" in cli("projections", "verify", "open_jobs").out
    damage(cli, jobs[0], view="open_jobs")
    assert cli("projections", "verify", "open_jobs", "--json", code=1).json["differing"] == 1


def test_the_status_shows_each_view(cli: Cli, jobs: list[UUID]) -> None:
    """Position, lag, owner, version of the fold; a view of another version says what to do."""
    assert len(jobs) == 4
    status = cli("projections", "status", "--json").json
    assert [one["projection"] for one in status["views"]] == list(PROJECTIONS)
    shown = view(cli)
    assert shown["position"] == status["head"] and shown["lag_events"] == 0 and shown["fold_version"] == 1
    assert shown["owner"] and shown["parked"] == 0
    table = cli("projections", "status").out
    assert all(name in table for name in PROJECTIONS) and "__new" not in table
