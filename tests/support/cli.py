"""Runs the command `jobledger` as its users do: a process of its own, its output, its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .repository import ROOT

PROGRAM = Path(sys.executable).parent / "jobledger"
_TIMEOUT_SECONDS = 120


class Answer(NamedTuple):
    """What a process said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its answer, read as JSON."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """Its error, read as JSON (the last line of stderr; log lines may precede it)."""
        error = json.loads(self.err.strip().splitlines()[-1])["error"]
        assert isinstance(error, dict)
        return error


class Cli:
    """The command line against one ledger, from one working directory."""

    def __init__(self, directory: Path, database: str | None, **variables: str) -> None:
        self.directory = directory
        self.variables = {**({"JOBLEDGER_DATABASE": database} if database else {}), **variables}

    def with_variables(self, **variables: str) -> Cli:
        """The same, with more JOBLEDGER_* variables."""
        merged = {**self.variables, **variables}
        return Cli(self.directory, None, **merged)

    def __call__(self, *words: str | Path, stdin: str | None = None, code: int = 0) -> Answer:
        """Run to the end; the exit code is asserted."""
        ended = subprocess.run(
            [str(PROGRAM), *map(str, words)], cwd=self.directory, env=self._environment(), input=stdin,
            capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
        answer = Answer(ended.returncode, ended.stdout, ended.stderr)
        assert answer.code == code, answer
        return answer

    @contextmanager
    def running(self, *words: str | Path) -> Iterator[Running]:
        """Start it; whatever still runs at the end of the block is killed."""
        process = subprocess.Popen(
            [str(PROGRAM), *map(str, words)], cwd=self.directory, env=self._environment(), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            yield Running(process)
        finally:
            process.kill()
            process.communicate()

    def _environment(self) -> Mapping[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JOBLEDGER_")}
        binaries = {name: os.environ[name] for name in ("JOBLEDGER_PG_BIN",) if name in os.environ}
        return {**kept, **binaries, "PYTHONPATH": str(ROOT), **self.variables}


class Running(NamedTuple):
    """A process that runs."""

    process: subprocess.Popen[str]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Answer:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> Answer:
        """Wait for the end."""
        out, err = self.process.communicate(timeout=_TIMEOUT_SECONDS)
        return Answer(self.process.returncode, out, err)
