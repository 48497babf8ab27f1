"""Runs the command `jobledger` as its users do: a process of its own, its output, its exit code.

Loading its modules takes most of a short command's second, so ordinary calls are forked from a process that has
loaded them already. `program` and `running` start the installed program itself.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import IO, Any, NamedTuple

from .places import quick_place
from .repository import ROOT

PROGRAM = Path(sys.executable).parent / "jobledger"
_TIMEOUT_SECONDS = 120
_COMMANDS = (
    "up", "work", "dispatch", "jobs", "dlq", "queues", "stats", "limits", "tenants", "keys", "types", "workers",
    "migrate", "audit", "projections", "check", "version",
)  # fmt: skip
_ADAPTERS = ("connect", "event_source", "job_views", "keys", "queue_tables", "shadows", "statistics", "views")
_PRELOADED = (
    *(f"jobledger.infrastructure.cli.{command}" for command in _COMMANDS),
    *(f"jobledger.infrastructure.{engine}.{name}" for engine in ("sqlite", "postgres") for name in _ADAPTERS),
    "jobledger.infrastructure.postgres.wake_up", "jobledger.infrastructure.vaults.file", "jsonschema_rs",
    "tests.support.cli", "tests.support.sample_app", "tests.support.loaded",
)  # fmt: skip


class Answer(NamedTuple):
    """What a process said and how it ended."""

    code: int | None
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - a test looks at what it expects
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

    def __call__(self, *words: str | Path, stdin: str = "", code: int = 0) -> Answer:
        """Run to the end; the exit code is asserted."""
        answer = run_forked([str(word) for word in words], self.directory, self.environment(), stdin)
        assert answer.code == code, answer
        return answer

    def program(self, *words: str | Path, code: int = 0) -> Answer:
        """The same with the installed program."""
        ended = subprocess.run(
            [str(PROGRAM), *map(str, words)], cwd=self.directory, env=self.environment(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
        answer = Answer(ended.returncode, ended.stdout, ended.stderr)
        assert answer.code == code, answer
        return answer

    @contextmanager
    def running(self, *words: str | Path, module: str | None = None) -> Iterator[Running]:
        """Start the installed program (or another one, a module); whatever still runs at the end of the block is
        killed."""
        program = [str(PROGRAM)] if module is None else [sys.executable, "-m", module]
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:  # a pipe would fill up
            process = subprocess.Popen(
                [*program, *map(str, words)], cwd=self.directory, env=self.environment(),
                stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip
            try:
                yield Running(process, out, err)
            finally:
                process.kill()
                process.wait()

    def environment(self) -> Mapping[str, str]:
        """The variables of a process that works on this ledger."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JOBLEDGER_")}
        binaries = {name: os.environ[name] for name in ("JOBLEDGER_PG_BIN",) if name in os.environ}
        return {**kept, **binaries, "PYTHONPATH": str(ROOT), **self.variables}


class Running(NamedTuple):
    """A process that runs."""

    process: subprocess.Popen[bytes]
    out: IO[str]
    err: IO[str]

    def has_said(self, words: str) -> bool:
        """Whether this stands in its stderr. (Read at a place, because the file's offset is the process's, too.)"""
        size = os.fstat(self.err.fileno()).st_size
        return words.encode() in os.pread(self.err.fileno(), size, 0)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Answer:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> Answer:
        """Wait for the end."""
        code = self.process.wait(_TIMEOUT_SECONDS)
        self.out.seek(0)
        self.err.seek(0)
        return Answer(code, self.out.read(), self.err.read())


def run_forked(
    words: list[str],
    directory: Path,
    environment: Mapping[str, str],
    stdin: str = "",
    before: Callable[[], object] | None = None,
) -> Answer:
    """Run the command in a process that is forked from one that has loaded it. `before` is called there first."""
    with tempfile.TemporaryDirectory(dir=quick_place()) as folder:
        streams = tuple(Path(folder, name) for name in ("stdin", "stdout", "stderr"))
        streams[0].write_text(stdin, encoding="utf-8")
        process = _forking().Process(target=_run, args=(words, directory, environment, streams, before))
        process.start()
        process.join(_TIMEOUT_SECONDS)
        answer = Answer(process.exitcode, streams[1].read_text("utf-8"), streams[2].read_text("utf-8"))
        process.kill()
    return answer


@cache
def _forking() -> ForkServerContext:
    """Processes are forked from a server that has loaded what commands need; the server has no threads."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    return context


def _run(
    words: list[str],
    directory: Path,
    environment: Mapping[str, str],
    streams: tuple[Path, ...],
    before: Callable[[], object] | None,
) -> None:
    """In the new process: become the program."""
    from jobledger.infrastructure.cli.main import main

    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(streams):
        os.dup2(os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT), number)
    sys.stdin = os.fdopen(0, encoding="utf-8")
    sys.argv = ["jobledger", *words]
    if before is not None:
        before()
    main()
