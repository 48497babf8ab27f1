"""The port of a worker without the extra, and while things go wrong: over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.machinery import ModuleSpec
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from jobledger.application.app import App
from jobledger.application.job_context import JobContext
from jobledger.application.worker import Worker, WorkerOptions
from jobledger.application.worker.vitals import Check
from jobledger.infrastructure.metrics import endpoint as module
from jobledger.infrastructure.metrics.endpoint import Endpoint, worker_metrics
from jobledger.infrastructure.metrics.sampler import Sampler
from jobledger.infrastructure.metrics.tally import Tally
from jobledger.projections.ports import LedgerLag
from tests.support.fake_ledger import FakeLedger
from tests.support.use_cases import Invoice, StillClock


class Probed:
    """A service whose health a test sets."""

    def __init__(self) -> None:
        app = App("tested", code_version="1")

        @app.job("tested.one", effects="none")
        def handler(_context: JobContext, _: Invoice) -> None: ...

        self.worker = Worker(app.jobs, FakeLedger().ports, WorkerOptions(), code_version="1")
        self.alive = [Check("main loop", passed=True, detail="turned 0.1 s ago"), Check("settle thread", passed=True)]
        self.ready = [Check("ledger", passed=True)]

    def liveness(self) -> list[Check]:
        """As set."""
        return self.alive

    def readiness(self) -> list[Check]:
        """As set."""
        return self.ready


@contextmanager
def _listening(probed: Probed) -> Iterator[str]:
    clock = StillClock()
    sampler = Sampler(list, lambda: LedgerLag((), 0.0), clock)
    make = partial(worker_metrics, probed.worker, Tally(), sampler, clock)
    endpoint = Endpoint(probed, make, host="127.0.0.1", port=0)
    endpoint.start()
    try:
        yield endpoint.url
    finally:
        endpoint.close()


def _get(url: str) -> tuple[int, str, str]:
    """Status, content type and body."""
    try:
        with urlopen(url, timeout=20) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except HTTPError as refused:
        return refused.code, refused.headers["Content-Type"], refused.read().decode()


def test_without_the_extra_there_are_probes_and_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare install can be watched by an orchestrator; who scrapes it is told what to install."""

    def not_installed(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(module, "find_spec", not_installed)
    with _listening(Probed()) as url:
        status, _, body = _get(f"{url}/metrics")
        assert (status, "pip install 'jobledger[metrics]'" in body) == (501, True)
        assert _get(f"{url}/livez")[0] == _get(f"{url}/readyz")[0] == 200


@pytest.mark.parametrize("probe", ["livez", "readyz"])
def test_a_probe_answers_with_the_reasons(probe: str) -> None:
    """JSON, all checks, and 503 as soon as one of them failed."""
    probed = Probed()
    with _listening(probed) as url:
        status, content_type, body = _get(f"{url}/{probe}")
        assert (status, content_type, json.loads(body)["status"]) == (200, "application/json", "ok")
        checks = probed.alive if probe == "livez" else probed.ready
        checks.append(Check("heartbeat thread", passed=False, detail="has died"))
        status, _, body = _get(f"{url}/{probe}")
    assert (status, json.loads(body)["status"]) == (503, "failed")
    assert json.loads(body)["checks"][-1] == {"name": "heartbeat thread", "passed": False, "detail": "has died"}


def test_a_scrape_says_in_which_format_it_is() -> None:
    """The text format, unless another is asked for."""
    with _listening(Probed()) as url:
        status, content_type, body = _get(f"{url}/metrics")
    assert status == 200 and content_type.startswith("text/plain; version=")
    assert "jobledger_worker_slots 16.0" in body
