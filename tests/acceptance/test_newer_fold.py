"""A release whose fold of a view is of another version than the rows: what it says, and how the view comes along."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.cli import Answer, Cli

VIEW = "tenant_jobs"
WHY = ("--reason", "CHG-4: the release of June")
JOB = json.dumps({"type": "sample.ok", "payload": {"text": "x", "number": 1}})


@pytest.fixture
def worked(cli: Cli) -> Cli:
    """A ledger on which the release before ran three jobs."""
    dispatch(cli, 3)
    cli("work", "--drain")
    return cli


def dispatch(cli: Cli, count: int) -> None:
    """So many jobs."""
    cli("dispatch", "--jsonl", "-", *WHY, stdin="\n".join([JOB] * count))


def newer(cli: Cli, *words: str, code: int = 0) -> Answer:
    """Run a command of the later release; the exit code is asserted."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.newer_program", *words], cwd=cli.directory, env=cli.environment(),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    answer = Answer(ended.returncode, ended.stdout, ended.stderr)
    assert answer.code == code, answer
    return answer


def view(answer: Answer) -> dict[str, Any]:
    """What a status says of the view."""
    found: dict[str, Any] = next(one for one in answer.json["views"] if one["projection"] == VIEW)
    return found


def queues(cli: Cli) -> set[str]:
    """The queues in the list, whichever fold wrote them."""
    return {job["queue"] for job in newer(cli, "jobs", "list", "--json").json["jobs"]}


def test_a_newer_program_says_what_to_do(worked: Cli) -> None:
    """Status and check name both versions and the command; a part of the view is not rebuilt, comparing changes
    nothing; the view stands still while the others go on."""
    said = newer(worked, "projections", "status").out
    assert f"{VIEW} stands still: written by version 1 of its fold, this program has 2" in said
    assert f"jobledger projections rebuild {VIEW}" in said
    shown = view(newer(worked, "projections", "status", "--json"))
    assert (shown["fold_version"], shown["fold_version_of_program"]) == (1, 2)
    assert f"jobledger projections rebuild {VIEW}" in newer(worked, "check", code=1).out
    refused = newer(worked, "projections", "rebuild", VIEW, "--tenant", "acme", *WHY, "--json", code=3).error
    assert refused["code"] == "schema_outdated" and "rebuild the whole" in refused["hint"]
    verified = newer(worked, "projections", "verify", VIEW, code=1).out
    assert "3 rows differed: the view had 3 rows, the ledger says 3 rows" in verified
    assert "differences were to be expected: version 1 of the fold wrote the live rows" in verified
    assert view(newer(worked, "projections", "status", "--json"))["fold_version"] == 1


def test_a_newer_worker_runs_jobs_and_leaves_the_view_alone(worked: Cli) -> None:
    """It says so, in its log, with the command; other views and the jobs themselves go on, and it ends at once."""
    dispatch(worked, 1)
    said = newer(worked, "work", "--drain").err
    assert "projection.stopped" in said and f"jobledger projections rebuild {VIEW}" in said
    assert "service.not_caught_up" not in said
    status = newer(worked, "projections", "status", "--json").json
    positions = {one["projection"]: one["position"] for one in status["views"]}
    assert positions[VIEW] < status["head"]
    assert {position for name, position in positions.items() if name != VIEW} == {status["head"]}


def test_a_rebuild_brings_the_view_to_the_new_fold(worked: Cli) -> None:
    """At once, and it goes on from where it stood; the program before then leaves it alone, and says to upgrade."""
    dispatch(worked, 1)
    newer(worked, "work", "--drain")
    answer = newer(worked, "projections", "rebuild", VIEW, *WHY, "--json").json
    assert (answer["swapped"], answer["fold_version"], answer["fold_version_before"]) == (True, 2, 1)
    newer(worked, "work", "--drain")
    shown = view(newer(worked, "projections", "status", "--json"))
    assert (shown["fold_version"], shown["lag_events"]) == (2, 0)
    assert queues(worked) == {"DEFAULT"}
    assert "healthy" in newer(worked, "check", "--json").out
    said = worked("projections", "status").out
    assert "written by version 2 of its fold, this program has 1: upgrade jobledger" in said
    assert "rows of a later release: upgrade jobledger" in worked("check", code=1).out
    refused = worked("projections", "rebuild", VIEW, *WHY, "--json", code=3).error
    assert refused["code"] == "schema_too_new" and "upgrade" in refused["hint"]


def test_a_running_worker_takes_the_view_up_once_it_is_rebuilt(worked: Cli) -> None:
    """Nobody has to start the new release's workers again after the rebuild."""
    dispatch(worked, 1)
    with worked.running("work", module="tests.support.newer_program") as worker:
        while not worker.has_said("projection.stopped"):
            assert worker.process.poll() is None
        newer(worked, "projections", "rebuild", VIEW, *WHY)
        while not worker.has_said("projection.resumed"):
            assert worker.process.poll() is None
        dispatch(worked, 1)
        answer = worker.stop()
    assert answer.code == 0, answer
    shown = view(newer(worked, "projections", "status", "--json"))
    assert (shown["fold_version"], shown["lag_events"]) == (2, 0)
    assert queues(worked) == {"DEFAULT"}
