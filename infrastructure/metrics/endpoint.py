"""`/metrics`, `/livez` and `/readyz` of one worker process, put together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from .sampler import Sampler
from .tally import Tally

_JSON, _TEXT = "application/json", "text/plain; charset=utf-8"
_HINT = "metrics need an extra: pip install 'jobledger[metrics]'"

_log = structlog.get_logger("jobledger.metrics")


class Probed(Protocol):
    """What is probed: a service with its worker."""

    @property
    def worker(self) -> Worker:
        """The worker that it runs."""
        ...

    def liveness(self) -> Sequence[Check]:
        """Whether only a restart helps."""
        ...

    def readiness(self) -> Sequence[Check]:
        """Whether it takes jobs."""
        ...


class Endpoint:
    """The port of one worker. `/metrics` needs the extra `metrics`; the probes need nothing."""

    def __init__(self, service: Probed, tally: Tally, sampler: Sampler, clock: Clock, *, host: str, port: int) -> None:
        self._service = service
        self._collector = None
        if find_spec("prometheus_client") is not None:
            from .collector import Exposition  # noqa: PLC0415 - an extra

            self._collector = Exposition(service.worker, tally, sampler, clock)
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
        """200 while the worker takes jobs, else 503; with the reasons."""
        return _probe(self._service.readiness())


def _probe(checks: Sequence[Check]) -> Response:
    passed = all(check.passed for check in checks)
    answer = {"status": "ok" if passed else "failed", "checks": [check._asdict() for check in checks]}
    status = HTTPStatus.OK if passed else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(status, _JSON, f"{json.dumps(answer, indent=2)}\n".encode())


@contextmanager
def serving_metrics(handle: LedgerHandle, service: Probed, settings: Settings) -> Iterator[Endpoint | None]:
    """The endpoint of a service while the block runs; None where the settings name no port: then nothing is counted."""
    if settings.metrics_port is None:
        yield None
        return
    tally = Tally(tenant_label=settings.metrics_tenant_label)
    clock = handle.ports.clock
    names = [projection.name for projection in ALL_PROJECTIONS]
    sampler = Sampler(
        handle.ports.queue.counts, lambda: handle.event_source.lag(names), clock, handle.view_store.parked_counts
    )
    endpoint = Endpoint(service, tally, sampler, clock, host=settings.metrics_host, port=settings.metrics_port)
    endpoint.start()
    handle.ports.writer.add_listener(tally.committed)
    try:
        yield endpoint
    finally:
        endpoint.close()
