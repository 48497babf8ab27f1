"""Jobs worked on over HTTP, beside a worker of ours: remote workers claim one job, complete it, and claim again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from jobledger.application.key_messages import CreateKey
from jobledger.application.message import Actor
from jobledger.domain.identity import Grant, Role
from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.settings import load

from . import noop
from .measures import Sample, percentiles
from .scenarios import Bench, Ledger, drain_here, items
from .serving import Served, jobledger_server

WORKERS = (1, 8)
_WISHES = {"types": [noop.NOOP]}


class _Worked(NamedTuple):
    """What remote workers did together."""

    seconds: float
    claims_seconds: list[float]
    completions_seconds: list[float]


class _Worker:
    """A connection that is kept alive, with one request under way at a time."""

    def __init__(self, served: Served, number: int, *, chained: bool = False) -> None:
        self._served = served
        self._name = f"remote-{number}"
        self._next = {"claim": _WISHES} if chained else {}
        self._place = urlsplit(served.url)
        self.claims_seconds: list[float] = []
        self.completions_seconds: list[float] = []

    async def connect(self) -> None:
        """Once, before the clock runs."""
        self._reader, self._writer = await asyncio.open_connection(self._place.hostname, self._place.port)

    async def work(self) -> None:
        """One job after the other, until there is none."""
        while leases := await self.claim():
            while leases:  # with `claim`, a completion brings the next
                leases = await self.complete(leases[0])

    async def claim(self) -> list[dict[str, Any]]:
        """At most one job."""
        began_at = time.perf_counter()
        answer = await self._post("/v1/leases/claim", _WISHES)
        self.claims_seconds.append(time.perf_counter() - began_at)
        leases: list[dict[str, Any]] = answer["leases"]
        return leases

    async def complete(self, lease: dict[str, Any]) -> list[dict[str, Any]]:
        """The work is done; what comes next, where that was asked for."""
        began_at = time.perf_counter()
        answer = await self._post(f"{lease['path']}/complete", {"result": None, **self._next})
        self.completions_seconds.append(time.perf_counter() - began_at)
        return answer.get("leases") or []

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def _post(self, path: str, fields: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps({"worker": self._name, **fields}).encode()
        lines = [
            f"POST {path} HTTP/1.1", f"Host: {self._place.netloc}", "Content-Type: application/json",
            f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in self._served.headers.items()),
        ]  # fmt: skip
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        (length,) = [int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
        answer: dict[str, Any] = json.loads(await self._reader.readexactly(length))
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"the server answered {answer}")
        return answer


def remote_workers(bench: Bench, *, jobs: int) -> Iterator[Sample]:
    """Jobs a second of 1 and of 8 remote workers, the server's CPU, and what one of our workers does with as many.
    Chained: a completion claims the next job."""
    with bench.ledger(projecting=False) as ledger, jobledger_server(ledger.place.url, bench) as server:
        served = server._replace(headers={"Authorization": f"Bearer {_key(ledger.place.url)}"})
        _filled(ledger, 20)
        asyncio.run(_work(served, 1))
        for workers in WORKERS:
            for chained in (False, True):
                name = f"remote-workers-{workers}{'-chained' if chained else ''}"
                yield _sample(_filled(ledger, jobs), served, name, jobs, workers, chained=chained)
        yield from _apart(_filled(ledger, jobs), served, jobs, max(WORKERS))
    with bench._replace(jobs=jobs).ledger() as ledger:
        yield drain_here(ledger, "beside-remote-workers")


def _key(url: str) -> str:
    """Of a technical identity that may work for all tenants."""
    handle = open_ledger(load(database=url))
    try:
        made = handle.dispatcher.send(
            CreateKey, actor=Actor(id="service:benchmarks"), key_name="workers", grants=(Grant(role=Role.WORKER),),
            reason="a benchmark",
        )  # fmt: skip
        return made.unwrap().credential
    finally:
        handle.close()


def _filled(ledger: Ledger, jobs: int) -> Ledger:
    ledger.client.dispatch_many(items(jobs))
    ledger.bench.backend.settle(ledger.place.url)
    return ledger


def _sample(ledger: Ledger, served: Served, name: str, jobs: int, workers: int, *, chained: bool) -> Sample:
    meter = ledger.meter(served.process)
    worked = asyncio.run(_work(served, workers, chained=chained))
    sample = meter.sample(name, ledger.bench.backend.name, jobs, ended_at=meter.began_at + worked.seconds)
    both = sorted([*worked.claims_seconds, *worked.completions_seconds])
    return sample._replace(**percentiles(both)._asdict(), longest_ms=1_000 * both[-1])


async def _work(served: Served, count: int, *, chained: bool = False) -> _Worked:
    workers = await _connected(served, count, chained=chained)
    began_at = time.perf_counter()
    await asyncio.gather(*(worker.work() for worker in workers))
    seconds = time.perf_counter() - began_at
    for worker in workers:
        worker.close()
    return _Worked(
        seconds, [one for worker in workers for one in worker.claims_seconds],
        [one for worker in workers for one in worker.completions_seconds],
    )  # fmt: skip


async def _connected(served: Served, count: int, *, chained: bool = False) -> list[_Worker]:
    workers = [_Worker(served, number, chained=chained) for number in range(count)]
    for worker in workers:
        await worker.connect()
    return workers


def _apart(ledger: Ledger, served: Served, jobs: int, count: int) -> Iterator[Sample]:
    """Claims alone, then completions alone: what each request costs."""
    with asyncio.Runner() as runner:
        workers = runner.run(_connected(served, count))
        leases: list[list[dict[str, Any]]] = []

        async def claim(worker: _Worker, jobs: int) -> list[dict[str, Any]]:
            return [lease for _ in range(jobs) for lease in await worker.claim()]

        async def complete(worker: _Worker, leases: Sequence[dict[str, Any]]) -> None:
            for lease in leases:
                await worker.complete(lease)

        async def all_claim() -> None:
            leases.extend(await asyncio.gather(*(claim(worker, jobs // count) for worker in workers)))

        async def all_complete() -> None:
            await asyncio.gather(*(complete(worker, held) for worker, held in zip(workers, leases, strict=True)))

        for name, act in (("remote-claim", all_claim), ("remote-complete", all_complete)):
            meter = ledger.meter(served.process)
            runner.run(act())
            yield meter.sample(
                name, ledger.bench.backend.name, jobs // count * count, ended_at=time.monotonic(), unit="requests"
            )  # fmt: skip
        for worker in workers:
            worker.close()
