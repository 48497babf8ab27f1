"""What a scrape shows is what the documentation says, name by name."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from jobledger.application.app import App
from jobledger.application.job_context import JobContext
from jobledger.application.ports import QueueCount
from jobledger.application.worker import Worker, WorkerOptions
from jobledger.domain.job import JobStatus
from jobledger.infrastructure.metrics.collector import Exposition
from jobledger.infrastructure.metrics.requests import RequestTally, ServerLoad
from jobledger.infrastructure.metrics.sampler import Sampler
from jobledger.infrastructure.metrics.server_collector import ServerExposition
from jobledger.infrastructure.metrics.tally import OUTCOMES, Tally
from jobledger.projections.ports import LedgerLag, ProjectionLag
from tests.support.fake_ledger import FakeLedger
from tests.support.repository import ROOT
from tests.support.use_cases import Invoice, StillClock

PAGE = (ROOT / "docs" / "how-to" / "operate-workers.md").read_text(encoding="utf-8")
_SUFFIXES = ("_bucket", "_count")


def _exposition() -> Exposition:
    ledger, clock = FakeLedger(), StillClock()
    app = App("tested", code_version="1")

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _: Invoice) -> None: ...

    lag = LedgerLag((ProjectionLag("tenant_jobs", 7, 1.5),), 0.25)
    sampler = Sampler(
        lambda: [QueueCount("billing", JobStatus.DLQ, 3)], lambda: lag, clock, lambda: {"persona_jobs": (1, 4)}
    )
    worker = Worker(app.jobs, ledger.ports, WorkerOptions(queues=("post",)), code_version="1")
    return Exposition(worker, Tally(), sampler, clock)


def _server_exposition() -> ServerExposition:
    clock, requests = StillClock(), RequestTally()
    requests.begin()
    requests.end("GET", "/livez", 200, 0.01)
    sampler = Sampler(list, lambda: LedgerLag((), 0.0), clock)
    return ServerExposition(lambda: ServerLoad(requests.snapshot(), 0, 0, 64, 0, 0), lambda: 0, Tally(), sampler, clock)


def _families() -> dict[str, str]:
    """Names with their suffix, and their help: of workers and of servers."""
    bodies = [exposition.render("")[1].decode() for exposition in (_exposition(), _server_exposition())]
    families = [family for body in bodies for family in text_string_to_metric_families(body)]
    return {family.name + ("_total" if family.type == "counter" else ""): family.documentation for family in families}


def test_every_metric_is_documented_and_every_name_exists() -> None:
    """In the table, in the alerts and in the text."""
    named = set(re.findall(r"\bjobledger_[a-z_]+", PAGE))
    for name in list(named):
        for suffix in _SUFFIXES:
            if name.endswith(suffix):
                named.discard(name)
                named.add(name.removesuffix(suffix))
    assert named == set(_families())


def test_every_outcome_is_documented() -> None:
    """With the word that the label has."""
    row = next(line for line in PAGE.splitlines() if line.startswith("| `jobledger_job_outcomes_total`"))
    assert all(f"`{outcome}`" in row for outcome in OUTCOMES.values())


def test_every_metric_says_what_it_is() -> None:
    """In a sentence."""
    assert all(text.endswith(".") and len(text) > 10 for text in _families().values())


def test_parked_events_are_shown_by_view() -> None:
    """Those that failed and those that wait; a view of which nothing is parked says 0."""
    _, body = _exposition().render("")
    lines = body.decode().splitlines()
    parked = {
        (projection, state): f'jobledger_projection_parked_events{{projection="{projection}",state="{state}"}}'
        for projection in ("persona_jobs", "tenant_jobs")
        for state in ("failed", "waiting")
    }
    found = {key: line.rpartition(" ")[2] for key, name in parked.items() for line in lines if line.startswith(name)}
    assert found == {
        ("persona_jobs", "failed"): "1.0", ("persona_jobs", "waiting"): "4.0",
        ("tenant_jobs", "failed"): "0.0", ("tenant_jobs", "waiting"): "0.0",
    }  # fmt: skip


def test_what_the_ledger_says_is_shown_by_queue() -> None:
    """The queues of the worker too, though they have no jobs: an empty queue is not an unknown one."""
    _, body = _exposition().render("")
    lines = body.decode().splitlines()
    assert 'jobledger_dead_jobs{queue="billing"} 3.0' in lines and 'jobledger_dead_jobs{queue="post"} 0.0' in lines
    assert 'jobledger_projection_lag_events{projection="tenant_jobs"} 7.0' in lines
    assert 'jobledger_lease_expirations_total{queue="post"} 0.0' in lines
