"""Estimates of quantiles never claim more than the counts of classes can say."""

from __future__ import annotations

from bisect import bisect_left
from math import ceil

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from jobledger.application.distribution import Distribution

BOUNDS = (1.0, 10.0, 60.0)


def distribution(values: list[float]) -> Distribution:
    """The values, counted by their classes."""
    counts = [0] * (len(BOUNDS) + 1)
    for value in values:
        counts[bisect_left(BOUNDS, value)] += 1
    return Distribution(BOUNDS, tuple(counts), sum(values))


@for_all(values=st.lists(st.floats(0, 100), min_size=1), share=st.floats(0, 1))
def test_the_true_quantile_lies_within_the_estimate(values: list[float], share: float) -> None:
    """Whatever was measured: above one bound and not above the other."""
    estimate = distribution(values).quantile(share)
    assert estimate is not None
    true = sorted(values)[max(1, ceil(share * len(values))) - 1]
    assert estimate.over_seconds < true or (estimate.over_seconds == 0.0 and true >= 0)
    assert estimate.at_most_seconds is None or true <= estimate.at_most_seconds
    assert (estimate.at_most_seconds is None) == (true > BOUNDS[-1])


def test_nothing_measured_says_nothing() -> None:
    """There is no quantile and no mean of nothing."""
    nothing = distribution([])
    assert (nothing.quantile(0.5), nothing.mean_seconds, nothing.measured) == (None, None, 0)


def test_what_is_longer_than_the_last_bound_has_no_upper_one() -> None:
    """It is said to be longer than that, and no more; the mean is exact."""
    long = distribution([0.5, 100.0, 200.0])
    assert long.quantile(0.95) == (60.0, None)
    assert long.quantile(0.1) == (0.0, 1.0)
    assert long.mean_seconds == pytest.approx(300.5 / 3)
