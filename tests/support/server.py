"""A real server process for tests that speak HTTP to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.identities import ensure_admin_key
from jobledger.infrastructure.settings import load

from .watched_worker import WAIT_SECONDS

START_SECONDS = 60.0
"""Importing a server takes a second of a core; many tests may want one at the same time."""
_STARTED = re.compile(r'"event":"serve\.started"')


class RunningServer(NamedTuple):
    """A `jobledger serve` process, and an administrator's key."""

    process: subprocess.Popen[bytes]
    url: str
    database: str
    key: str
    log: Path

    def client(self, key: str | None = None, **headers: str) -> httpx.Client:
        """A client with a key (default: the administrator's)."""
        authorization = {"Authorization": f"Bearer {key or self.key}"}
        return httpx.Client(base_url=self.url, headers={**authorization, **headers}, timeout=WAIT_SECONDS)

    def events(self) -> list[dict[str, object]]:
        """What it has logged so far."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@contextmanager
def running_server(
    database: str, folder: Path, *arguments: str, key: str | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[RunningServer]:
    """`jobledger serve` on a free port, on a ledger that is made if need be; told to stop at the end. `key`: that of an
    administrator, where the ledger has one already."""
    log = folder / f"server-{time.monotonic_ns()}.log"
    if key is None:
        key = first_key(database)
    environment = {
        **os.environ, "JOBLEDGER_DATABASE": database, "JOBLEDGER_LOG_FORMAT": "json", **(settings or {}),
    }  # fmt: skip
    command = [sys.executable, "-m", "jobledger.infrastructure.cli", "serve", "--port", "0", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        yield RunningServer(process, _url(process, log), database, key, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(WAIT_SECONDS)


def first_key(database: str) -> str:
    """Make the ledger if need be, and its first key."""
    handle = open_ledger(load(database=database), create=True)
    try:
        key = ensure_admin_key(handle)
    finally:
        handle.close()
    assert key is not None, "the ledger had a key: say which"
    return key


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines():
            if _STARTED.search(line):
                return str(json.loads(line)["url"])
        time.sleep(0.02)
    raise AssertionError(f"the server did not start: {log.read_text(encoding='utf-8')}")
