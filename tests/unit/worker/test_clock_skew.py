"""A clock that differs from the database's is noticed; a slow answer is not taken for one."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from jobledger.application.app import App
from jobledger.application.job_context import JobContext
from jobledger.application.worker import Worker, WorkerEvent, WorkerEvents, WorkerOptions
from jobledger.application.worker.clock_skew import ClockSkew
from tests.support.fake_ledger import FakeLedger
from tests.support.watched_worker import working

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class Payload(BaseModel):
    """Nothing."""


def nothing(context: JobContext, payload: Payload) -> None:
    """Do nothing."""


def _skew() -> tuple[ClockSkew, list[WorkerEvent]]:
    events, heard = WorkerEvents(), list[WorkerEvent]()
    events.on("clock_skew", heard.append)
    return ClockSkew("w1", events), heard


def _learn(skew: ClockSkew, *, ahead: float, took: float = 0.002, read_at: float = 0.5) -> None:
    """One renewal by a clock that is `ahead` seconds ahead; the database reads its own after that part of the time."""
    before = NOON + timedelta(seconds=ahead)
    skew.learn(before, NOON + timedelta(seconds=took * read_at), before + timedelta(seconds=took))


@pytest.mark.parametrize("took", [0.001, 0.9, 30.0])
@pytest.mark.parametrize("read_at", [0.0, 0.5, 1.0])
def test_a_slow_answer_is_no_skew(took: float, read_at: float) -> None:
    """Whenever within the round trip the database looks at its clock: clocks that agree are found to agree."""
    skew, heard = _skew()
    for _ in range(3):
        _learn(skew, ahead=0.0, took=took, read_at=read_at)
    assert skew.seconds == 0 and not skew.is_too_large and heard == []


@pytest.mark.parametrize("ahead", [-90.0, -2.0, 2.0, 3_600.0])
def test_a_clock_that_differs_is_told_of_once(ahead: float) -> None:
    """Ahead or behind, with its sign, in the log and to listeners: once, not with each heartbeat."""
    skew, heard = _skew()
    with capture_logs() as logs:
        for _ in range(5):
            _learn(skew, ahead=ahead)
    assert skew.seconds == pytest.approx(ahead, abs=0.002) and skew.is_too_large
    assert [log["event"] for log in logs] == ["worker.clock_skew"]
    assert logs[0]["skew_seconds"] == pytest.approx(ahead, abs=0.002) and logs[0]["log_level"] == "warning"
    (event,) = heard
    assert ("ahead of" if ahead > 0 else "behind") in event.detail


def test_a_second_is_still_allowed() -> None:
    """Up to a second nothing is said."""
    skew, heard = _skew()
    _learn(skew, ahead=0.9)
    _learn(skew, ahead=-0.9)
    assert heard == [] and not skew.is_too_large


def test_what_changes_much_is_told_again_and_so_is_its_end() -> None:
    """A drift of milliseconds is no news; seconds are, and so is a clock that is right again."""
    skew, heard = _skew()
    with capture_logs() as logs:
        for ahead in (5.0, 5.3, 5.6, 9.0, 9.1, 0.0, 0.1):
            _learn(skew, ahead=ahead)
    assert [log["event"] for log in logs] == ["worker.clock_skew", "worker.clock_skew", "worker.clock_skew_over"]
    assert len(heard) == 3


def test_skew_is_never_overstated() -> None:
    """Whatever the round trips are: what is believed is never further from zero than what is true, and comes as near
    as the quickest answer allows."""
    draw = random.Random(20260302)
    for _ in range(300):
        skew, _ = _skew()
        ahead = draw.uniform(-10, 10)
        trips = [draw.expovariate(2.0) for _ in range(6)]
        for took in trips:
            _learn(skew, ahead=ahead, took=took, read_at=draw.random())
        assert abs(skew.seconds) <= abs(ahead) + 1e-5
        assert abs(skew.seconds - ahead) <= min(trips) + 1e-5


def test_a_worker_says_that_its_clock_is_wrong(app: App, ledger: FakeLedger) -> None:
    """By what the database answers to its first heartbeat; the report that the next one carries says it too."""
    app.job("tested.one", effects="none")(nothing)
    ledger.clock_behind = timedelta(minutes=2)
    options = WorkerOptions(lease_seconds=0.6, lease_renew_buffer_seconds=0.1, cancel_poll_seconds=0.05)
    with working(Worker(app.jobs, ledger.ports, options, code_version="1")) as watched:
        assert "120 s ahead of the database's" in watched.wait_for("clock_skew").detail
        ledger.wait_for_report(lambda report: report.clock_skew_seconds > 119)
