"""`/metrics`, `/livez` and `/readyz` of one process, a worker or a server, put together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from importlib.util import find_spec
from typing import Protocol

import structlog

from jobledger.application.ports import Clock
from jobledger.application.worker import Worker
from jobledger.application.worker.vitals import Check
from jobledger.projections.catalogue import ALL_PROJECTIONS

from ..bootstrap import LedgerHandle
from ..settings import Settings
from .http import HttpServer, Response
from .requests import ServerLoad
from .sampler import Sampler
from .server_vitals import Beside, ServerVitals
from .tally import Tally

_JSON, _TEXT = "application/json", "text/plain; charset=utf-8"
_HINT = "metrics need an extra: pip install 'jobledger[metrics]'"

_log = structlog.get_logger("jobledger.metrics")


class Probed(Protocol):
    """What is probed."""

    def liveness(self) -> Sequence[Check]:
        """Whether only a restart helps."""
        ...

    def readiness(self) -> Sequence[Check]:
        """Whether it takes jobs, or requests."""
        ...


class Working(Probed, Protocol):
    """A service with its worker."""

    @property
    def worker(self) -> Worker:
        """The worker that it runs."""
        ...


class Serving(Protocol):
    """A server."""

    @property
    def has_died(self) -> bool:
        """Whether it ended by itself."""
        ...

    def load(self) -> ServerLoad:
        """What it has to do just now."""
        ...


class Rendered(Protocol):
    """What is scraped."""

    def render(self, accept: str) -> tuple[str, bytes]:
        """Content type and body."""
        ...


class Endpoint:
    """The port of one process. `/metrics` needs the extra `metrics`; the probes need nothing."""

    def __init__(self, service: Probed, make: Callable[[], Rendered], *, host: str, port: int) -> None:
        """`make` imports what only that extra brings."""
        self._service = service
        self._collector = make() if find_spec("prometheus_client") is not None else None
        self._server = HttpServer(
            host, port, {"/metrics": self.metrics, "/livez": self.livez, "/readyz": self.readyz}
        )  # fmt: skip

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.url

    def start(self) -> None:
        """Listen. `InvalidSettings` where that is not possible."""
        self._server.start()
        _log.info("metrics.listening", url=self.url, paths=["/metrics", "/livez", "/readyz"])
        if self._collector is None:
            _log.warning("metrics.not_installed", hint=_HINT)

    def close(self) -> None:
        """Listen no more."""
        self._server.close()

    def metrics(self, headers: Mapping[str, str]) -> Response:
        """The exposition, in the format that the client accepts."""
        if self._collector is None:
            return Response(HTTPStatus.NOT_IMPLEMENTED, _TEXT, f"{_HINT}\n".encode())
        content_type, body = self._collector.render(headers.get("accept", ""))
        return Response(HTTPStatus.OK, content_type, body)

    def livez(self, headers: Mapping[str, str]) -> Response:
        """200 while this process is worth keeping, else 503; with the reasons."""
        return _probe(self._service.liveness())

    def readyz(self, headers: Mapping[str, str]) -> Response:
        """200 while it takes jobs, or requests, else 503; with the reasons."""
        return _probe(self._service.readiness())


def _probe(checks: Sequence[Check]) -> Response:
    passed = all(check.passed for check in checks)
    answer = {"status": "ok" if passed else "failed", "checks": [check._asdict() for check in checks]}
    status = HTTPStatus.OK if passed else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(status, _JSON, f"{json.dumps(answer, indent=2)}\n".encode())


def worker_metrics(worker: Worker, tally: Tally, sampler: Sampler, clock: Clock) -> Rendered:
    """What a worker shows."""
    from .collector import Exposition  # noqa: PLC0415 - an extra

    return Exposition(worker, tally, sampler, clock)


def server_metrics(
    server: Serving, writes_waiting: Callable[[], int], tally: Tally, sampler: Sampler, clock: Clock
) -> Rendered:
    """What a server shows."""
    from .server_collector import ServerExposition  # noqa: PLC0415 - an extra

    return ServerExposition(server.load, writes_waiting, tally, sampler, clock)


@contextmanager
def serving_metrics(handle: LedgerHandle, service: Working, settings: Settings) -> Iterator[Endpoint | None]:
    """The endpoint of a service while the block runs; None where the settings name no port: then nothing is counted."""
    make = partial(worker_metrics, service.worker)
    with _serving(handle, service, settings, make) as endpoint:
        yield endpoint


@contextmanager
def serving_server_metrics(
    handle: LedgerHandle, server: Serving, settings: Settings, threads: Mapping[str, Beside | None]
) -> Iterator[Endpoint | None]:
    """The endpoint of a server and of the `threads` that run beside it."""
    make = partial(server_metrics, server, handle.writes_waiting)
    with _serving(handle, ServerVitals(handle, server, threads), settings, make) as endpoint:
        yield endpoint


@contextmanager
def _serving(
    handle: LedgerHandle, probed: Probed, settings: Settings, make: Callable[[Tally, Sampler, Clock], Rendered]
) -> Iterator[Endpoint | None]:
    if settings.metrics_port is None:
        yield None
        return
    tally = Tally(tenant_label=settings.metrics_tenant_label)
    clock = handle.ports.clock
    names = [projection.name for projection in ALL_PROJECTIONS]
    sampler = Sampler(
        handle.ports.queue.counts, lambda: handle.event_source.lag(names), clock, handle.view_store.parked_counts
    )
    made = partial(make, tally, sampler, clock)
    endpoint = Endpoint(probed, made, host=settings.metrics_host, port=settings.metrics_port)
    endpoint.start()
    handle.ports.writer.add_listener(tally.committed)
    try:
        yield endpoint
    finally:
        endpoint.close()
