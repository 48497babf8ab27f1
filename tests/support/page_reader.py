"""Somebody who follows a page of the documentation to the letter, in an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .cli import Answer, run_forked

_BLOCK = re.compile(r"^```(?P<language>python|console)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_ID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?<=^key )[a-z0-9]{10}(?= )", re.MULTILINE
)
"""Of a job, or of a key."""
_EXIT_CODE = re.compile(r"^\(exit code (\d+)\)$")


class Step(NamedTuple):
    """A command of the tutorial, the lines it shows (`...` stands for anything), and the exit code it names."""

    command: str
    shown: tuple[str, ...]
    exit_code: int


class Reader:
    """Somebody who types what the tutorial says. Ids differ from those on the page: `_ids` maps them."""

    def __init__(self, folder: Path, *, starts_the_program: bool = False) -> None:
        self._folder = folder
        self._starts_the_program = starts_the_program
        self._ids: dict[str, str] = {}
        binaries = str(Path(sys.executable).parent)
        self._environment = {
            "PATH": f"{binaries}:{os.environ['PATH']}", "HOME": str(folder), "LANG": "C.UTF-8", "COLUMNS": "200",
            "JOBLEDGER_LOG_LEVEL": "error",
        }  # fmt: skip

    def follow(self, step: Step) -> None:
        """Run the command and compare what is shown with what came."""
        if step.command.startswith("export "):
            name, _, value = step.command.removeprefix("export ").partition("=")
            self._environment[name] = value
            return
        answer = self._run([self._mapped(word) for word in shlex.split(step.command)])
        printed = answer.out + answer.err
        assert answer.code == step.exit_code, f"{step.command}\n{printed}"
        self._learn_ids(step, printed)
        expected = self._mapped(_pattern(step.shown))
        assert re.search(expected, printed, re.DOTALL), f"{step.command}\nshows\n{printed}\nnot\n{expected}"

    def _run(self, command: list[str]) -> Answer:
        if command[0] == "jobledger" and not self._starts_the_program:
            return run_forked(command[1:], self._folder, self._environment)
        ran = subprocess.run(
            command, cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        return Answer(ran.returncode, ran.stdout, ran.stderr)

    def write(self, text: str) -> None:
        """Write the file that a block of Python names in its first line."""
        name = text.splitlines()[0].removeprefix("# file: ")
        (self._folder / name).write_text(text, encoding="utf-8")

    def _learn_ids(self, step: Step, printed: str) -> None:
        for on_the_page, here in zip(_ID.findall("\n".join(step.shown)), _ID.findall(printed), strict=False):
            self._ids.setdefault(on_the_page, here)
            self._ids.setdefault(on_the_page[-8:], here[-8:])

    def _mapped(self, text: str) -> str:
        for on_the_page, here in self._ids.items():
            text = text.replace(on_the_page.replace("-", r"\-"), here).replace(on_the_page, here)
        return text


def _pattern(shown: tuple[str, ...]) -> str:
    """A regular expression of the lines shown, in which `...` stands for anything."""
    return r"[\s\S]*?".join(
        re.escape(line.strip()).replace(r"\.\.\.", ".*?") for line in shown if line.strip() != "..."
    )


def _steps(text: str) -> list[Step]:
    steps = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *shown = part.strip().splitlines()
        codes = [int(found[1]) for line in shown if (found := _EXIT_CODE.match(line))]
        lines = tuple(line for line in shown if not _EXIT_CODE.match(line))
        steps.append(Step(command, lines, codes[0] if codes else 0))
    return steps


def follow(page: Path, folder: Path, *, starts_the_program: bool = False) -> int:
    """Write every file of the page, run every command, and compare what it shows with what comes; how many ran.

    Commands are forked from a process that has loaded them, which is quicker, unless the program itself is to be
    started for each.
    """
    reader = Reader(folder, starts_the_program=starts_the_program)
    followed = 0
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        if block["language"] == "python":
            reader.write(block["text"])
            continue
        for step in _steps(block["text"]):
            reader.follow(step)
            followed += 1
    return followed
