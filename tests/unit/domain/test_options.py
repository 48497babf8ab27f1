"""Options of a job: what is legal, and which level wins."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from pydantic import ValidationError

from jobledger.domain.options import INSTALLATION_DEFAULTS, JobOptions, merge, resolve
from jobledger.domain.retry import Retry
from tests.support.given import NOW


def test_the_most_specific_level_wins_option_by_option() -> None:
    """Job, job type, queue, installation (R3.1)."""
    job = JobOptions(priority=1)
    job_type = JobOptions(priority=2, queue="billing")
    queue = JobOptions(priority=3, queue="other", max_stalled=7)
    installation = JobOptions(max_stalled=9, timeout_seconds=60)
    resolved = resolve(job, job_type, queue, installation, now=NOW)
    assert (resolved.priority, resolved.queue, resolved.max_stalled, resolved.timeout_seconds) == (1, "billing", 7, 60)


def test_what_nobody_says_is_the_default() -> None:
    """Queue default, priority 0, five attempts, 300 s, three stalls, due now."""
    resolved = resolve(now=NOW)
    assert (resolved.queue, resolved.priority, resolved.timeout_seconds, resolved.max_stalled) == ("default", 0, 300, 3)
    assert resolved.retry == Retry()
    assert (resolved.due_at, resolved.delayed, resolved.depends_on, resolved.lock_key) == (NOW, False, (), None)


def test_zero_is_a_value() -> None:
    """Priority 0 of a job beats priority 5 of its type."""
    assert resolve(JobOptions(priority=0), JobOptions(priority=5), now=NOW).priority == 0


def test_the_soft_timeout_is_ninety_percent_of_the_hard_one() -> None:
    """Where none is given; and never above the hard one."""
    assert resolve(JobOptions(timeout_seconds=100), now=NOW).soft_timeout_seconds == 90
    assert resolve(JobOptions(timeout_seconds=1), now=NOW).soft_timeout_seconds == 1
    assert resolve(JobOptions(timeout_seconds=10, soft_timeout_seconds=20), now=NOW).soft_timeout_seconds == 10


def test_the_timeouts_are_one_option() -> None:
    """A job's own hard timeout is not paired with its type's soft one."""
    merged = merge(JobOptions(timeout_seconds=10), JobOptions(timeout_seconds=100, soft_timeout_seconds=95))
    assert (merged.timeout_seconds, merged.soft_timeout_seconds) == (10, None)


def test_a_delay_counts_from_the_dispatch() -> None:
    """`delay_seconds` and `run_at` make a job delayed, a time in the past does not."""
    assert resolve(JobOptions(delay_seconds=60), now=NOW).due_at == NOW + timedelta(minutes=1)
    assert resolve(JobOptions(delay_seconds=60), now=NOW).delayed
    assert not resolve(JobOptions(run_at=NOW - timedelta(minutes=1)), now=NOW).delayed
    assert not resolve(JobOptions(delay_seconds=0), now=NOW).delayed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("priority", 101), ("priority", -101), ("priority", True), ("priority", 1.5), ("queue", "Not A Queue"),
        ("queue", ""), ("timeout_seconds", 0.5), ("timeout_seconds", 86_401), ("soft_timeout_seconds", 0),
        ("max_stalled", -1), ("max_stalled", 101), ("lock_key", ""), ("lock_key", "x" * 256),
        ("limit_key", ""), ("limit_key", "x" * 256), ("limit_key", "a\x00"), ("delay_seconds", -1),
        ("delay_seconds", 401 * 86_400), ("run_at", datetime(2026, 3, 2)),  # noqa: DTZ001 - that is the point
        ("unknown", 1),
    ],
)  # fmt: skip
def test_an_option_out_of_bounds_is_refused(field: str, value: object) -> None:
    """The error names the field."""
    with pytest.raises(ValidationError) as caught:
        JobOptions.model_validate({field: value})
    assert caught.value.errors()[0]["loc"] == (field,)


def test_there_is_one_way_to_wait() -> None:
    """A time and a delay at once are refused."""
    with pytest.raises(ValidationError, match="not both"):
        JobOptions(run_at=NOW, delay_seconds=1)


def test_dependencies_are_kept() -> None:
    """As many ids as were given."""
    parents = (uuid4(), uuid4())
    assert resolve(JobOptions(depends_on=parents), now=NOW).depends_on == parents


def test_the_installation_decides_everything_that_must_be_decided() -> None:
    """No resolved option is left open."""
    undecided = {name for name, value in INSTALLATION_DEFAULTS if value is None}
    assert undecided == {"soft_timeout_seconds", "lock_key", "limit_key", "run_at", "delay_seconds"}
