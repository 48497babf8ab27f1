"""What `jobledger.testing` shows is what the worker of production does: both run the same jobs, and what their ledgers
tell is compared."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from jobledger import Ledger, LedgerClient
from jobledger.testing import InMemoryLedger, SeenJob, seen_job
from tests.support.scenarios import SCENARIOS, app, clients, dispatch_all

WAIT_SECONDS = 10.0
REPORTS = ("job.progressed", "job.logged")
"""When these are recorded depends on the time that passes between them; what they say does not."""


class Told(NamedTuple):
    """What is compared of a job: everything that does not depend on time."""

    job_type: str
    status: str
    attempts: int
    events: tuple[str, ...]
    result: object
    steps: dict[str, object]
    errors: tuple[str, ...]
    dlq_reason: str | None
    log_lines: tuple[str, ...]
    last_progress: tuple[tuple[float, str], ...]


Story = dict[str, list[Told]]
"""What became of all jobs, by tenant."""


def told(job: SeenJob) -> Told:
    """A job without its times and ids."""
    lines = tuple(line.split(" ", 1)[1] for line in job.log_lines)
    events = tuple(name for name in job.events if name not in REPORTS)
    return Told(
        job.job_type, job.status, job.attempt, events, job.result, dict(job.steps), job.errors, job.dlq_reason,
        lines, job.progress[-1:],
    )  # fmt: skip


def story(ledger: LedgerClient) -> Story:
    """What the ledger tells of all scenarios."""
    jobs: Story = {}
    for tenant in SCENARIOS:
        for row in ledger.jobs.list(tenant=tenant).rows:
            history = ledger.jobs.history(row.job_id, tenant=tenant, bodies=True)
            jobs.setdefault(tenant, []).append(told(seen_job(history.events)))
        jobs[tenant].sort(key=repr)
    return jobs


@pytest.fixture(scope="module")
def of_production(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """What the worker of production makes of the scenarios, on SQLite."""
    url = f"sqlite:///{tmp_path_factory.mktemp('production') / 'ledger.db'}"
    with Ledger.open(url, app=app, create=True) as ledger:
        clients.append(ledger)
        dispatch_all(ledger)
        ledger.worker(app, drain=True, drain_wait_seconds=WAIT_SECONDS).run()
        clients.pop()
        return story(ledger)


@pytest.fixture(scope="module")
def of_testing() -> Story:
    """What a drain in memory makes of them."""
    ledger = InMemoryLedger(app, tenants=())
    clients.append(ledger)
    dispatch_all(ledger)
    ledger.drain(until_idle=True)
    clients.pop()
    return story(ledger)


@pytest.mark.parametrize("tenant", SCENARIOS)
def test_a_drain_in_memory_does_what_production_does(tenant: str, of_testing: Story, of_production: Story) -> None:
    """Events, attempts, results, steps, errors, log lines and the reason of death are the same."""
    assert of_testing[tenant] == of_production[tenant]
    assert of_testing[tenant]
