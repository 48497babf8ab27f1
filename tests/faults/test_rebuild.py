"""A view is rebuilt while others write, project and read it, and while the rebuild is killed again and again."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import PROGRAM, Cli
from tests.support.rebuilding_process import VIEW
from tests.support.repository import ROOT
from tests.support.seen import fold_all

from ..contract.views_support import open_place

JOBS = 150
_DEATHS = (
    ("own_slice", 6), ("fill", 12), ("fill", 12), ("index", 1), ("note", 1), ("checkpoints", 2), ("hold", 1),
    ("snapshot", 1), ("note", 2), ("hold", 2), ("swap", 1), ("ended", 1), ("note", 1),
)  # fmt: skip
"""Where a process may die, in the order in which a rebuild comes there, and how often it is called until then."""


@pytest.fixture(params=["sqlite", "postgres"])
def cli(request: pytest.FixtureRequest, tmp_path: Path) -> Cli:
    """The command line on a ledger with a history of its own."""
    url = f"sqlite:///{tmp_path}/ledger.db" if request.param == "sqlite" else request.getfixturevalue("durable_dsn")
    command = Cli(tmp_path, url, JOBLEDGER_TENANT="acme", JOBLEDGER_APP="tests.support.sample_app")
    command("migrate")
    command("tenants", "create", "acme", "--reason", "a customer")
    command("work", "--drain")
    line = json.dumps({"type": "sample.ok", "payload": {"text": "x", "number": 1}})
    command("dispatch", "--jsonl", "-", "--reason", "a test", stdin="\n".join([line] * JOBS))
    command("work", "--drain")
    return command


class Process:
    """A role of `tests.support.rebuilding_process`, or a worker; it ends when it is told to."""

    def __init__(self, cli: Cli, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=dict(cli.environment()), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.command = command

    def has_begun(self) -> None:
        """Wait for its first line."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "begun\n", self.command

    def end(self) -> Any:  # noqa: ANN401 - a test looks at what it expects
        """Close its input; what it said last."""
        out, _ = self._process.communicate()
        assert self._process.returncode == 0, self.command
        return json.loads(out.splitlines()[-1])

    def kill(self) -> None:
        """Whatever it does."""
        self._process.kill()
        self._process.communicate()


def role(cli: Cli, *words: str) -> list[str]:
    """The command of a role."""
    name, *rest = words
    url = cli.variables["JOBLEDGER_DATABASE"]
    return [sys.executable, "-m", "tests.support.rebuilding_process", name, url, *rest]


@contextmanager
def going_on(cli: Cli, known: str) -> Iterator[list[Process]]:
    """Two processes that dispatch and two that work, one that projects, and one that reads."""
    worker = [str(PROGRAM), "work", "--without-projections"]
    with ExitStack() as ending:
        processes = []
        for command in (role(cli, "dispatch"), role(cli, "dispatch"), role(cli, "project"), role(cli, "read", known)):
            processes.append(Process(cli, command))
            ending.callback(processes[-1].kill)
        for _ in range(2):
            ending.callback(Process(cli, worker).kill)
        for process in processes:
            process.has_begun()
        yield processes


def rebuild(cli: Cli, *death: str) -> subprocess.CompletedProcess[str]:
    """Go on with the rebuild in a fresh process, to its end or to this death."""
    return subprocess.run(
        role(cli, "rebuild", *death),
        cwd=ROOT,
        env=dict(cli.environment()),
        capture_output=True,
        text=True,
        check=False,
    )


def deaths(seed: int) -> list[tuple[str, str, str]]:
    """Five of them, in the order of a rebuild."""
    chance = random.Random(seed)
    places = sorted(chance.sample(range(len(_DEATHS)), 5))
    chosen = [_DEATHS[place] for place in places]
    return [(name, str(chance.randint(1, most)), chance.choice(("before", "after"))) for name, most in chosen]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [int(os.environ.get("SOAK_SEED", "1"))])
def test_a_rebuild_that_is_killed_five_times_amid_writers_is_exact(cli: Cli, seed: int) -> None:
    """Killed at five points of its way while four processes append: afterwards the table is the fold of the whole
    ledger, row by row, and no reader ever saw a missing or half-built list."""
    known = cli("jobs", "list", "--json").json["jobs"][-1]["job_id"]
    with going_on(cli, known) as processes:
        died = [rebuild(cli, *death).returncode for death in deaths(seed)]
        last = rebuild(cli)
        assert last.returncode == 0, last.stderr
        said = [process.end() for process in processes]
    assert died.count(-9) >= 4, (died, deaths(seed))  # the last place may lie behind the end
    assert all(one["dispatched"] > 0 for one in said[:2])
    assert said[3]["readings"] > 5 and said[3]["rows"] > JOBS
    engine = "sqlite" if cli.variables["JOBLEDGER_DATABASE"].startswith("sqlite") else "postgres"
    place = cli.variables["JOBLEDGER_DATABASE"].removeprefix("sqlite:///")
    cli("work", "--drain")
    with open_place(engine, place) as opened:
        for _ in range(2):
            opened.project()
        events = opened.events()
        assert opened.stored_rows(VIEW, events) == fold_all(VIEW, events)
    assert cli("projections", "verify", VIEW.name, "--json").json["differing"] == 0
    status = cli("projections", "status", "--json").json["views"]
    assert all(one["rebuild"] is None and one["shadow_rows"] is None for one in status)
