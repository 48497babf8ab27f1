"""The soak's check finds every violation that is planted in a good history, and nothing in a good one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest

from jobledger.domain.event import Metadata, RecordedEvent
from jobledger.domain.job import (
    JobCompleted,
    JobDispatched,
    JobFacts,
    JobFailed,
    JobInterrupted,
    JobLogged,
    JobRetried,
    JobSentToDlq,
    JobSnoozed,
    JobStalled,
    JobStarted,
    JobStepRecorded,
)
from jobledger.domain.retry import Retry
from tests.support.soak_check import Effect, tally, violations

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
JOB, OTHER = UUID("01890a5d-ac96-774b-bcce-b302099a8057"), UUID("01890a5d-ac96-774b-bcce-b302099a8058")
ABOUT = {"job_type": "soak.steps", "queue": "default", "persona": None}
Step = tuple[str, JobFacts]
"""Who records what."""
History = list[Step]


def _dispatched(lock_key: str | None = None) -> Step:
    return "service:test", JobDispatched(**ABOUT, due_at=NOW, lock_key=lock_key)


def _started(attempt: int, worker: str) -> Step:
    return f"worker:{worker}", JobStarted(**ABOUT, attempt=attempt, worker=worker, code_version="1", lease_seconds=2)


def _recorded(attempt: int, worker: str, step: str = "charge") -> Step:
    return f"worker:{worker}", JobStepRecorded(**ABOUT, attempt=attempt, step=step, key=step)


def _logged(attempt: int, worker: str) -> Step:
    return f"worker:{worker}", JobLogged(**ABOUT, attempt=attempt, level="info", line_count=1)


def _stalled(attempt: int, worker: str) -> Step:
    return "worker:rescuer", JobStalled(**ABOUT, attempt=attempt, worker=worker)


def _snoozed(attempt: int, worker: str) -> Step:
    return f"worker:{worker}", JobSnoozed(**ABOUT, attempt=attempt, due_at=NOW, why="not now")


def _interrupted(attempt: int, worker: str) -> Step:
    return f"worker:{worker}", JobInterrupted(**ABOUT, attempt=attempt, worker=worker, why="stopped")


def _failed(attempt: int, worker: str) -> Step:
    return f"worker:{worker}", JobFailed(
        **ABOUT, attempt=attempt, worker=worker, error_type="E", message="m", fingerprint="f", recoverable=True
    )


def _retried(next_attempt: int, worker: str) -> Step:
    return f"worker:{worker}", JobRetried(
        **ABOUT, next_attempt=next_attempt, due_at=NOW, delay_seconds=0, policy=Retry(), jitter=0.0, attempts_counted=1
    )


def _completed(attempt: int, worker: str) -> Step:
    return f"worker:{worker}", JobCompleted(
        **ABOUT, attempt=attempt, worker=worker, seconds_in_queue=0.0, seconds_running=0.0
    )


def _dead(attempt: int) -> Step:
    return "worker:rescuer", JobSentToDlq(
        **ABOUT, reason="stalled", attempt=attempt, error_type="Stalled", message="m", fingerprint="stalled"
    )


def _good() -> History:
    """Killed between effect and record, done again, failed, snoozed, given back, then completed."""
    return [
        _dispatched(), _started(1, "a"), _stalled(1, "a"), _started(2, "b"), _recorded(2, "b"), _logged(2, "b"),
        _failed(2, "b"), _retried(3, "b"), _started(3, "c"), _snoozed(3, "c"), _started(4, "d"), _interrupted(4, "d"),
        _started(5, "a"), _completed(5, "a"),
    ]  # fmt: skip


EFFECTS = [Effect(JOB, 1, "charge"), Effect(JOB, 2, "charge")]


def _events(history: History, job: UUID = JOB, first_version: int = 1) -> list[RecordedEvent]:
    return [
        RecordedEvent(
            job, version, "acme", version, NOW, facts.topic, facts,
            Metadata(correlation_id="c", trace_parent=f"00-{'a' * 32}-{'b' * 16}-01", actor=actor, time=NOW),
        )
        for version, (actor, facts) in enumerate(history, first_version)
    ]  # fmt: skip


def _rules(history: History, effects: list[Effect] | None = None) -> set[str]:
    return {found.rule for found in violations(_events(history), EFFECTS if effects is None else effects)}


def test_a_good_history_breaks_nothing() -> None:
    """Stalled, failed, snoozed, interrupted and completed attempts, one after another; an effect that was cut off."""
    assert violations(_events(_good()), EFFECTS) == []
    assert violations(_events([_dispatched(), _started(1, "a"), _stalled(1, "a"), _dead(1)]), []) == []


def _replaced(place: int, *steps: Step) -> History:
    history = _good()
    history[place : place + 1] = steps
    return history


PLANTED: dict[str, tuple[Callable[[], History], str]] = {
    "a second ending of the job": (lambda: [*_good(), _completed(5, "a")], "a job ends once"),
    "a job that runs again after its end": (lambda: [*_good(), _started(6, "a")], "a job ends once"),
    "a job that never ends": (lambda: _good()[:-2], "a job ends"),
    "an attempt that never ends": (lambda: _good()[:-1], "an attempt has one ending"),
    "two endings of an attempt": (lambda: _replaced(2, _stalled(1, "a"), _failed(1, "a")), "an attempt has one ending"),
    "an ending by another worker": (
        lambda: _replaced(13, _completed(5, "b")), "only the holder of the lease ends an attempt"),
    "an ending of an earlier attempt": (
        lambda: _replaced(13, _completed(4, "a")), "only the holder of the lease ends an attempt"),
    "a zombie that puts a job off": (
        lambda: _replaced(9, _snoozed(3, "a")), "only the holder of the lease ends an attempt"),
    "an ending when nobody holds the job": (
        lambda: _replaced(8, _interrupted(3, "c")), "only the holder of the lease ends an attempt"),
    "a start while another attempt runs": (
        lambda: _replaced(2, _logged(1, "a")), "an attempt ends before the next begins"),
    "a gap between attempts": (lambda: _replaced(3, _started(3, "b")), "attempts have no gaps"),
    "a step recorded twice": (lambda: _replaced(5, _recorded(2, "b")), "a step is recorded once"),
    "a step that a zombie records": (lambda: _replaced(4, _recorded(1, "a")), "only the holder of the lease reports"),
    "a log line of a zombie": (lambda: _replaced(5, _logged(1, "a")), "only the holder of the lease reports"),
    "a decision before the ending": (
        lambda: _replaced(6, _retried(3, "b"), _failed(2, "b")), "what follows an attempt comes after its ending"),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_violation_is_found(planted: str) -> None:
    """Each promise is checked by itself."""
    history, rule = PLANTED[planted]
    assert rule in _rules(history())


def test_a_gap_between_versions_is_found() -> None:
    """An event that was lost."""
    events = _events(_good())
    del events[5]
    assert "versions have no gaps" in {found.rule for found in violations(events, EFFECTS)}


def test_two_jobs_of_one_lock_key_are_found() -> None:
    """Events are judged in the order of the ledger."""
    one = _events([_dispatched("k"), _started(1, "a"), _completed(1, "a")])
    other = _events([_dispatched("k"), _started(1, "b"), _completed(1, "b")], OTHER)
    assert violations([*one, *other], []) == []
    found = violations([*one[:2], *other, one[2]], [])
    assert [(each.rule, each.job_id) for each in found] == [("a lock key is held by one running job", OTHER)]


@pytest.mark.parametrize(
    ("effects", "rule"),
    [
        ([*EFFECTS, Effect(JOB, 3, "charge")], "a recorded step never runs again"),
        ([*EFFECTS, Effect(JOB, 2, "charge")], "an attempt does a step once"),
        ([*EFFECTS, Effect(JOB, 3, "mail")], "an effect is recorded unless it was cut off"),
        ([Effect(JOB, 1, "charge")], "a recorded step had its effect"),
        ([*EFFECTS, Effect(OTHER, 1, "charge")], "an effect belongs to a job"),
    ],
)  # fmt: skip
def test_an_effect_out_of_place_is_found(effects: list[Effect], rule: str) -> None:
    """The world saw a step twice, or one that the ledger does not know of."""
    assert _rules(_good(), effects) == {rule}


def test_what_happened_is_counted() -> None:
    """Endings by kind, dead jobs by reason, effects that were done again."""
    counted = tally(_events(_good()), EFFECTS)
    assert (counted.jobs, counted.completed, counted.steps, counted.effects, counted.repeated) == (1, 1, 1, 2, 1)
    assert counted.endings["stalled"] == counted.endings["interrupted"] == 1
    assert tally(_events([_dispatched(), _started(1, "a"), _stalled(1, "a"), _dead(1)]), []).dead == {"stalled": 1}
