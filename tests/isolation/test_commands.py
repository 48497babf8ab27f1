"""Commands about tenant A are asked for what is B's: the same answer and statements as for what is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from jobledger.infrastructure.cli.main import build
from tests.support.cli import Answer, Cli, run_forked

from .asking import Names, filled
from .commands import COMMANDS, AsAbsent, Within
from .conftest import Watched
from .statements import record_into
from .world import MARKER, B

FOREIGN = {name: row for name, row in COMMANDS.items() if isinstance(row, AsAbsent)}
WITHIN = {name: row for name, row in COMMANDS.items() if isinstance(row, Within)}
_NEW = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[78][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|\d{4}-\d\d-\d\d[T ][0-9:.]+Z?"
    r"|\b[0-9a-f]{32}\b|\b[0-9a-f]+\.\d{4,}\b|\b\d+(\.\d+)?\b"
)
"""Ids that are made, times, positions, numbers of them."""
_files = count()


def test_every_command_has_a_row() -> None:
    """A command that nobody thought of isolating does not get in."""
    commands = set(_commands(get_command(build()), ""))
    missing, gone = sorted(commands - COMMANDS.keys()), sorted(COMMANDS.keys() - commands)
    assert not missing, f"say in tests/isolation/commands.py how `--tenant A` asks there for B's things: {missing}"
    assert not gone, f"these commands of tests/isolation/commands.py are gone: take their rows out: {gone}"


def _commands(command: Any, name: str) -> Iterator[str]:  # noqa: ANN401 - a typer command or group
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name
        return
    for each, found in inner.items():
        yield from _commands(found, f"{name} {each}".strip())


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_theirs_is_as_absent(watched: Watched, tmp_path: Path, name: str) -> None:
    """Exit code, answer and error, but for the name that was asked; and the same statements."""
    for ask in FOREIGN[name].asks:
        theirs, by_theirs = _said(watched, tmp_path, f"{name} {ask}", watched.world.theirs)
        absent, by_absent = _said(watched, tmp_path, f"{name} {ask}", watched.world.absent)
        assert theirs == absent, ask
        assert MARKER not in repr(theirs)
        assert by_theirs and by_theirs == by_absent, (ask, theirs)


def _said(watched: Watched, folder: Path, line: str, their: Names) -> tuple[Answer, list[str]]:
    """What a command says, without names and what is new; and its statements."""
    watched.world.settle()
    answer, statements = _run(watched, folder, line, their)
    assert answer.code in (0, 1, 2), answer
    texts = (_NEW.sub("<new>", _hidden(text, their)) for text in (answer.out, answer.err))
    return Answer(answer.code, *texts), statements


def _hidden(text: str, their: Names) -> str:
    """Job ids are also told without dashes, and short."""
    for name in ("job", "dead", "running"):
        digits = getattr(their, name).replace("-", "")
        text = text.replace(digits, f"<{name}>").replace(digits[-8:], f"<{name}>")
    return their.hidden_in(text)


def _run(watched: Watched, folder: Path, line: str, their: Names) -> tuple[Answer, list[str]]:
    words = filled(line.split(), watched.world.own, their)
    command = Cli(folder, watched.database, JOBLEDGER_ACTOR="test:operator")
    path = folder / f"statements-{next(_files)}"
    path.touch()
    answer = run_forked(words, folder, command.environment(), before=partial(record_into, path))
    return answer, path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", WITHIN)
def test_about_one_tenant_nothing_of_another_is_shown(watched: Watched, tmp_path: Path, name: str) -> None:
    """No name of B, nor anything that B keeps."""
    answer, _ = _run(watched, tmp_path, f"{name} {WITHIN[name].ask}", watched.world.theirs)
    assert answer.code == 0 and answer.out.strip(), answer
    assert f'"{B}"' not in answer.out and MARKER not in answer.out
    assert watched.world.theirs.job not in answer.out
