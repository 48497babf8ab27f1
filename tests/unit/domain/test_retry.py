"""Retry policies: how long a failed job waits, and when it has had enough."""

from __future__ import annotations

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from jobledger.domain.retry import MAX_ATTEMPTS_LIMIT, Retry

policies = st.one_of(
    st.builds(Retry.exponential, st.integers(1, 1_000), st.floats(0, 86_400), st.floats(0, 2_592_000)),
    st.builds(Retry.linear, st.integers(1, 1_000), st.floats(0, 86_400), st.floats(0, 2_592_000)),
    st.builds(Retry.fixed, st.integers(1, 1_000), st.floats(0, 86_400)),
    st.lists(st.floats(0, 1e6), min_size=1, max_size=20).map(lambda delays: Retry.delays(*delays)),
)


def test_exponential_doubles_up_to_its_cap() -> None:
    """2, 4, 8 ... seconds, never more than the cap."""
    policy = Retry.exponential(max_attempts=10, base_seconds=2, cap_seconds=20)
    assert [policy.nominal_delay_seconds(n) for n in range(1, 7)] == [2, 4, 8, 16, 20, 20]


def test_the_default_is_what_the_domain_says() -> None:
    """Exponential, 2 s doubling to 1 h, full jitter, 5 attempts."""
    policy = Retry()
    assert (policy.kind, policy.base_seconds, policy.cap_seconds) == ("exponential", 2, 3_600)
    assert (policy.jitter, policy.max_attempts) == ("full", 5)


def test_full_jitter_draws_between_nothing_and_the_delay() -> None:
    """A herd that failed together does not come back together."""
    policy = Retry.exponential(base_seconds=10)
    assert policy.delay_seconds(1, 0.0) == 0
    assert policy.delay_seconds(1, 0.25) == 2.5


def test_linear_adds_the_same_each_time() -> None:
    """10, 20, 30 ... up to the cap, whatever the jitter."""
    policy = Retry.linear(base_seconds=10, cap_seconds=25)
    assert [policy.delay_seconds(n, 0.5) for n in (1, 2, 3)] == [10, 20, 25]


def test_fixed_waits_the_same_each_time() -> None:
    """Whatever the failure, whatever the jitter."""
    assert {Retry.fixed(base_seconds=7).delay_seconds(n, 0.1 * n) for n in range(1, 5)} == {7}


def test_a_list_is_followed_exactly() -> None:
    """As many attempts as waits, plus the first."""
    policy = Retry.delays(1, 5, 30)
    assert policy.max_attempts == 4
    assert [policy.delay_seconds(n, 0.9) for n in (1, 2, 3)] == [1, 5, 30]


def test_never_is_one_attempt() -> None:
    """No second one."""
    assert Retry.never().max_attempts == 1


@for_all(policy=policies, failures=st.integers(1, 2_000), jitter=st.floats(0, 1))
def test_a_delay_is_never_negative_nor_above_the_cap(policy: Retry, failures: int, jitter: float) -> None:
    """For every policy, after any number of failures, without overflow."""
    assert 0 <= policy.delay_seconds(failures, jitter) <= policy.cap_seconds


@pytest.mark.parametrize(
    "fields",
    [
        {"max_attempts": 0}, {"max_attempts": MAX_ATTEMPTS_LIMIT + 1}, {"base_seconds": -1}, {"cap_seconds": -1},
        {"kind": "list"}, {"kind": "list", "delays_seconds": (1, -1)}, {"kind": "never"}, {"unknown": 1},
    ],
)  # fmt: skip
def test_a_policy_without_bounds_is_refused(fields: dict[str, object]) -> None:
    """Unlimited retry and negative waits do not exist (R4.6)."""
    with pytest.raises(ValidationError):
        Retry.model_validate(fields)


@pytest.mark.parametrize("number", [float("inf"), float("nan")], ids=str)
def test_a_wait_is_a_number(number: float) -> None:
    """JSON has no other: the dispatch would be recorded, and nobody could read it back."""
    for fields in ({"kind": "list", "delays_seconds": [number]}, {"base_seconds": number}, {"cap_seconds": number}):
        with pytest.raises(ValidationError):
            Retry.model_validate(fields)
    with pytest.raises(ValidationError):
        Retry.model_validate_json('{"kind":"list","delays_seconds":[1e999]}')
