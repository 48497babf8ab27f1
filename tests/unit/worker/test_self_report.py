"""What a worker says of itself with its heartbeats."""

from __future__ import annotations

import threading

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from jobledger.application.app import App
from jobledger.application.job_context import JobContext
from jobledger.application.ports import WorkerReport
from jobledger.application.worker import Worker, WorkerEvents, WorkerOptions
from jobledger.application.worker.clock_skew import ClockSkew
from jobledger.application.worker.held import Held
from jobledger.application.worker.self_report import SAMPLE_SECONDS, ResourceUse, SelfReport
from tests.support.fake_ledger import FakeLedger
from tests.support.use_cases import StillClock
from tests.support.watched_worker import WAIT_SECONDS, working

ABOUT = WorkerReport(app="tested", host="node-1", pid=42)


class Payload(BaseModel):
    """Nothing."""


def nothing(context: JobContext, payload: Payload) -> None:
    """Do nothing."""


class Machine:
    """What the operating system says, and how often it was asked."""

    def __init__(self) -> None:
        self.cpu_seconds = 10.0
        self.asked = 0

    def __call__(self) -> ResourceUse:
        """The answer."""
        self.asked += 1
        return ResourceUse(self.cpu_seconds, 1_000_000 * self.asked)


def _report(machine: object, clock: StillClock) -> SelfReport:
    return SelfReport(
        ABOUT, WorkerOptions(tenants=("acme",), personas=("clerk",)), machine, clock=clock,  # type: ignore[arg-type]
        skew=ClockSkew("w1", WorkerEvents()), held=Held(), running={}, quarantined=lambda: 2,
    )  # fmt: skip


def test_the_load_is_what_was_used_between_two_looks() -> None:
    """CPU seconds a second; the first look knows none."""
    machine, clock = Machine(), StillClock()
    report = _report(machine, clock)
    first = report.make()
    assert (first.cpu_seconds, first.cpu_load, first.rss_bytes) == (10.0, 0.0, 1_000_000)
    clock.advance(10.0)
    machine.cpu_seconds = 25.0
    second = report.make()
    assert (second.cpu_seconds, second.cpu_load, second.rss_bytes) == (25.0, 1.5, 2_000_000)
    assert (second.app, second.host, second.pid, second.quarantined) == ("tested", "node-1", 42, 2)
    assert (second.tenants, second.personas) == (("acme",), ("clerk",))


def test_frequent_beats_do_not_ask_the_system_each_time() -> None:
    """Long running jobs make a worker beat several times a second."""
    machine, clock = Machine(), StillClock()
    report = _report(machine, clock)
    for _ in range(10):
        report.make()
        clock.advance(SAMPLE_SECONDS / 10)
    assert machine.asked == 1


def test_used_time_never_falls() -> None:
    """A child that ended took its time with it: counters must not run backward."""
    machine, clock = Machine(), StillClock()
    report = _report(machine, clock)
    report.make()
    clock.advance(SAMPLE_SECONDS)
    machine.cpu_seconds = 4.0
    after = report.make()
    assert (after.cpu_seconds, after.cpu_load) == (10.0, 0.0)


def test_a_system_that_cannot_be_asked_costs_no_heartbeat() -> None:
    """The report goes on without; that is said once."""

    def broken() -> ResourceUse:
        raise ValueError("/proc is not what it seems")

    clock = StillClock()
    report = _report(broken, clock)
    with capture_logs() as logs:
        for _ in range(3):
            assert report.make().rss_bytes == 0
            clock.advance(SAMPLE_SECONDS)
    assert [log["event"] for log in logs] == ["worker.resources_unknown"]


def test_a_heartbeat_says_what_runs(app: App, ledger: FakeLedger) -> None:
    """Jobs by type, those that are held, and what the process uses, while they run."""
    go_on = threading.Event()

    def wait(context: JobContext, payload: Payload) -> None:
        go_on.wait(WAIT_SECONDS)

    app.job("tested.slow", effects="none")(wait)
    app.job("tested.other", effects="none")(wait)
    for name in ("tested.slow", "tested.slow", "tested.other"):
        ledger.dispatch(app, name)
    options = WorkerOptions(poll_seconds=0.1, cancel_poll_seconds=0.05)
    worker = Worker(app.jobs, ledger.ports, options, code_version="1", about=ABOUT, resources=Machine())
    with working(worker):
        report = ledger.wait_for_report(lambda report: report.held == 3 and len(report.running_by_type) == 2)
        go_on.set()
    assert report.running_by_type == {"tested.slow": 2, "tested.other": 1}
    assert (report.app, report.cpu_seconds, report.rss_bytes) == ("tested", 10.0, 1_000_000)
    assert list(report.running_by_type) == ["tested.slow", "tested.other"], "the most frequent first"


@pytest.mark.parametrize("name", ["app", "host", "pid"])
def test_a_worker_without_a_machine_reports_nothing_false(app: App, ledger: FakeLedger, name: str) -> None:
    """Embedded without wiring, what is not known stays empty."""
    app.job("tested.one", effects="none")(nothing)
    with working(Worker(app.jobs, ledger.ports, WorkerOptions(), code_version="1")):
        report = ledger.wait_for_report(lambda _: True)
    assert getattr(report, name) == getattr(WorkerReport(), name)
