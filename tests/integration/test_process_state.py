"""What a handler changes in the child process that it runs in stays its own affair."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

from jobledger import Ledger
from jobledger.application.worker import RunResult
from tests.support.process_state_app import app

TENANT = "acme"


def results_of(folder: Path, *job_types: str) -> list[object]:
    """The results of jobs of these types, run one after the other in one child."""
    with Ledger.open(f"sqlite:///{folder}/ledger.db", app=app, create=True) as ledger:
        ledger.tenants.create(TENANT, reason="a customer")
        job_ids = [ledger.dispatch(job_type, {}, tenant=TENANT).job_id for job_type in job_types]
        assert ledger.worker(app, concurrency=1, drain=True).run() is RunResult.DRAINED
        return [_last(ledger, job_id) for job_id in job_ids]


def _last(ledger: Ledger, job_id: UUID) -> object:
    """The result of a job; the last that happened to it where it has none."""
    last = ledger.jobs.history(job_id, tenant=TENANT, bodies=True).events[-1]
    return json.loads(last.body) if last.topic == "job.completed" and last.body is not None else last.facts


def test_the_next_job_of_a_child_finds_nothing_changed(tmp_path: Path) -> None:
    """Working directory, file mode mask, environment, signal handlers, blocked signals, timers, locale and the default
    timeout of sockets are again as the program left them; an alarm that was set does not end an innocent job."""
    first, second = results_of(tmp_path, "state.change", "state.see")
    assert first == second


def test_what_a_handler_forks_can_be_terminated(tmp_path: Path) -> None:
    """A child ignores SIGTERM, as its worker decides when it ends; a process that its handler forks does not."""
    assert results_of(tmp_path, "state.terminates") == [-15]
