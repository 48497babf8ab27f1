"""Single dispatches over HTTP, beside a handler that does nothing: both behind uvicorn, over connections kept alive."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from os import environ
from typing import NamedTuple
from urllib.parse import urlsplit

from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.identities import ensure_admin_key
from jobledger.infrastructure.settings import load

from . import noop
from .http_load import Load, post
from .measures import Sample, percentiles
from .scenarios import Bench

CONNECTIONS = (1, 32)
TENANT = noop.TENANTS[0]
_START_SECONDS = 30.0
_WARM_UP = 50


class Served(NamedTuple):
    """A server to be asked: where, what, and the process."""

    url: str
    path: str
    headers: Mapping[str, str]
    process: int


def single_dispatches(bench: Bench, *, requests: int) -> Iterator[Sample]:
    """Requests a second and latencies of both, with 1 and with 32 connections. Nobody keeps the lists."""
    with (
        bench.ledger(projecting=False) as ledger,
        _bare() as bare,
        jobledger_server(ledger.place.url, bench) as jobledger,
    ):
        for connections in CONNECTIONS:
            count = requests if connections > 1 else max(1, requests // 8)
            for name, served in (("http-nothing", bare), ("http-dispatch", jobledger)):
                _load(served, _WARM_UP, connections)
                meter = ledger.meter(served.process)
                load = _load(served, count, connections)
                sample = meter.sample(
                    f"{name}-{connections}", bench.backend.name, count, ended_at=meter.began_at + load.seconds,
                    unit="requests",
                )  # fmt: skip
                yield sample._replace(
                    **percentiles(load.latencies_seconds)._asdict(), longest_ms=1_000 * max(load.latencies_seconds)
                )


def _load(served: Served, count: int, connections: int) -> Load:
    item = noop.item(1, TENANT)
    body = json.dumps({"type": item.job_type, "payload": item.payload, "persona": item.persona}).encode()
    return post(served.url, count, connections, path=served.path, headers=dict(served.headers), body=body)


@contextmanager
def _bare() -> Iterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with _program("benchmarks.bare", str(port)) as process:
        yield Served(_listening(f"http://127.0.0.1:{port}"), "/", {}, process)


@contextmanager
def jobledger_server(database: str, bench: Bench) -> Iterator[Served]:
    """`jobledger serve` as it is shipped, but for the lists."""
    handle = open_ledger(load(database=database))
    try:
        key = ensure_admin_key(handle)
    finally:
        handle.close()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ("serve", "--port", str(port), "--no-projections")
    with _program("jobledger.infrastructure.cli", *arguments, database=database, log=str(bench.log)) as process:
        path, headers = f"/v1/tenants/{TENANT}/jobs", {"Authorization": f"Bearer {key}"}
        yield Served(_listening(f"http://127.0.0.1:{port}"), path, headers, process)


@contextmanager
def _program(module: str, *arguments: str, database: str = "", log: str = "/dev/null") -> Iterator[int]:
    settings = {"JOBLEDGER_DATABASE": database, "JOBLEDGER_LOG_FORMAT": "json"} if database else {}
    with open(log, "ab") as output:  # noqa: PTH123 - it may be a device
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], stdout=output, stderr=output, env={**environ, **settings}
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _listening(url: str) -> str:
    place, deadline = urlsplit(url), time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((str(place.hostname), place.port or 0), 1):
            return url
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on {url}")
