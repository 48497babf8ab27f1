"""What handlers are promised (`JobContext`) and what they get (`AttemptContext`) are the same."""

from __future__ import annotations

import inspect

import pytest

from jobledger.application.app import App
from jobledger.application.job_context import JobContext
from jobledger.application.worker import Worker, WorkerOptions
from jobledger.application.worker.context import AttemptContext
from jobledger.domain.job import JobSnoozed
from tests.support.fake_ledger import FakeLedger
from tests.unit.worker.test_hostile import Payload


def as_promised(context: AttemptContext) -> JobContext:
    """For mypy: what handlers get fits what they are promised."""
    return context


def _names(thing: type) -> set[str]:
    return {name for name in vars(thing) if not name.startswith("_")}


def test_a_handler_gets_what_it_is_promised() -> None:
    """Neither has a name that the other has not."""
    assert _names(AttemptContext) == _names(JobContext)


@pytest.mark.parametrize("name", sorted(_names(JobContext)))
def test_what_is_promised_is_described(name: str) -> None:
    """Each name has a description, and methods take the same arguments."""
    promised, given = inspect.getattr_static(JobContext, name), inspect.getattr_static(AttemptContext, name)
    assert inspect.getdoc(promised)
    if inspect.isfunction(promised):
        parameters = [list(inspect.signature(each).parameters.values()) for each in (promised, inspect.unwrap(given))]
        assert parameters[0] == parameters[1]


def test_a_handler_snoozes_its_job(app: App, ledger: FakeLedger) -> None:
    """`snooze` ends the attempt, which does not count; the reason is recorded."""

    @app.job("tested.one", effects="none")
    def handler(context: JobContext, payload: Payload) -> None:
        context.snooze(3_600, "the gateway sleeps")

    job_id = ledger.dispatch(app, "tested.one")
    Worker(app.jobs, ledger.ports, WorkerOptions(drain=True), code_version="1").run()
    snoozed = ledger.facts(job_id)
    assert isinstance(snoozed, JobSnoozed) and snoozed.why == "the gateway sleeps"
    assert ledger.rows[job_id].state.attempts_counted == 0
