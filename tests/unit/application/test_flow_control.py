"""Limits as arithmetic: what is left of them, for whom, and whose turn it is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.application.flow_control import Allowance, Candidate, Rules, Running, Use, lane_of
from jobledger.application.turns import TenantTurns, choose
from jobledger.application.writes import LimitRow
from jobledger.domain.limit import FlowState, Limits, Rate, Scope, Target, queue_target, tenant_target

SECOND = 1_000_000
QUEUE = queue_target("q")
BOT = Target(Scope.PERSONA, "acme", "bot")


class _Uses:
    """What is stored of uses, as an adapter does it."""

    def __init__(self) -> None:
        self.buckets: defaultdict[Target, Counter[int]] = defaultdict(Counter)

    def read(self, target: Target, after: int) -> Iterable[Use]:
        return [Use(end, tokens) for end, tokens in self.buckets[target].items() if end > after]

    def save(self, allowed: Allowance) -> None:
        for target, use in allowed.used():
            self.buckets[target][use.ends_at] += use.tokens


def _rules(*rows: tuple[Target, Limits], paused: tuple[Target, ...] = ()) -> Rules:
    limited = [LimitRow(target, FlowState(limits)) for target, limits in rows]
    return Rules([*limited, *(LimitRow(target, FlowState(paused=True)) for target in paused)])


def _allowance(
    rules: Rules, *, now: int = 0, at_once: int | None = None, uses: _Uses | None = None
) -> Allowance:  # fmt: skip
    return Allowance(rules, now=now, at_once=at_once, running=lambda: (), uses=(uses or _Uses()).read)


def _job(number: int = 0, tenant: str = "acme", **fields: str) -> Candidate:
    return Candidate(0, 0, bytes([number]), tenant, "q", **fields)


def _take(allowed: Allowance, jobs: int, **fields: str) -> int:
    return sum(allowed.take(_job(number, **fields)) for number in range(jobs))


# --- lanes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound_by", "lane"),
    [
        ((None, None, None), None), (("a", None, None), "la"), ((None, "b", None), "kb"), ((None, None, "c"), "pc"),
        (("a", "b", "c"), "la\x1fkb\x1fpc"),
    ],
)  # fmt: skip
def test_a_lane_is_what_binds_a_job(bound_by: tuple[str | None, str | None, str | None], lane: str | None) -> None:
    """Its lock key, its limit key and its limited persona; most jobs have none."""
    assert lane_of(*bound_by) == lane


# --- rules -----------------------------------------------------------------------------------------------------------


def test_weights_alone_bind_nothing() -> None:
    """A tenant with a weight is neither limited nor paused."""
    rules = _rules((tenant_target("acme"), Limits(weight=3)))
    assert not rules
    assert (rules.weight("acme"), rules.weight("other")) == (3, 1)
    assert rules.state_of(tenant_target("acme")) is None


def test_the_nearest_rule_is_a_keys() -> None:
    """Its own, then that of the longest prefix; of its own tenant."""
    subjects = ("a*", "ab*", "abc", "*")
    rows = [(Target(Scope.KEY, "acme", subject), Limits(concurrency=n + 1)) for n, subject in enumerate(subjects)]
    rules = _rules(*rows)
    found = [rules.state_of(Target(Scope.KEY, "acme", key)) for key in ("ax", "abx", "abc", "abcd", "x")]
    assert [state.limits.concurrency if state else None for state in found] == [1, 2, 3, 2, 4]
    assert rules.state_of(Target(Scope.KEY, "other", "abc")) is None
    assert rules.state_of(Target(Scope.PERSONA, "acme", "abc")) is None


# --- what is left ----------------------------------------------------------------------------------------------------


def test_what_runs_is_asked_for_once_and_only_where_it_matters() -> None:
    """Counting what runs costs something: claims without concurrency limits do not ask."""
    asked: list[None] = []

    def running() -> list[Running]:
        asked.append(None)
        return [Running("q", "acme", "bot", None, 2), Running("q", "other", "bot", None, 1)]

    def allowance(*rows: tuple[Target, Limits]) -> Allowance:
        return Allowance(_rules(*rows), now=0, at_once=None, running=running, uses=lambda *_: ())

    assert _take(allowance((QUEUE, Limits(rate=Rate(count=9, seconds=1)))), 3, persona="bot") == 3
    assert asked == []
    both = allowance((QUEUE, Limits(concurrency=5)), (BOT, Limits(concurrency=3)))
    assert (both.room("q"), both.room("q", "acme", "bot"), both.room("q", "other", "bot")) == (2, 1, 2)
    assert len(asked) == 1


def test_a_lock_key_is_taken_once() -> None:
    """One job of a lock key and tenant in a claim."""
    allowed = _allowance(_rules())
    keys = [("acme", "a"), ("acme", "a"), ("other", "a"), ("acme", "b")]
    taken = [allowed.take(_job(n, tenant, lock_key=key)) for n, (tenant, key) in enumerate(keys)]
    assert taken == [True, False, True, True]


def test_a_job_that_is_refused_uses_nothing() -> None:
    """What one limit refuses does not count toward the others."""
    allowed = _allowance(_rules((QUEUE, Limits(concurrency=2)), paused=(BOT,)))
    assert _take(allowed, 5, persona="bot") == 0
    assert _take(allowed, 5) == 2
    assert allowed.limited


def test_a_claim_under_no_rule_is_not_limited() -> None:
    """Rules for others have no say."""
    allowed = _allowance(_rules((BOT, Limits(concurrency=1))))
    assert _take(allowed, 3, persona="x") == 3
    assert not allowed.limited
    assert allowed.again_seconds is None


def test_only_the_first_jobs_of_a_claim_may_be_under_a_rate() -> None:
    """What is claimed ahead begins later, when its token may be worth nothing."""
    allowed = _allowance(_rules((BOT, Limits(rate=Rate(count=9, seconds=1)))), at_once=3)
    assert [allowed.take(_job(1)), allowed.take(_job(2, persona="bot")), allowed.take(_job(3))] == [True] * 3
    assert [allowed.take(_job(4, persona="bot")), allowed.take(_job(5))] == [False, True]
    assert allowed.again_seconds is None


# --- rates -----------------------------------------------------------------------------------------------------------


@given(
    count=st.integers(1, 5),
    steps=st.lists(st.tuples(st.integers(0, SECOND // 3), st.integers(1, 6)), min_size=1, max_size=60),
)
def test_a_rate_is_never_exceeded(count: int, steps: list[tuple[int, int]]) -> None:
    """In no window of its length start more jobs than a rate allows; and no more than a bucket's length later than
    they might, all of them are allowed again."""
    rules = _rules((QUEUE, Limits(rate=Rate(count=count, seconds=1))))
    uses, now, starts = _Uses(), 0, list[int]()
    for pause, wanted in steps:
        now += pause
        allowed = _allowance(rules, now=now, uses=uses)
        taken = _take(allowed, wanted)
        uses.save(allowed)
        in_reach = sum(start > now - SECOND - SECOND // 100 for start in starts)
        assert taken >= min(wanted, count - in_reach)
        starts += [now] * taken
    for first in starts:
        assert sum(first <= start <= first + SECOND for start in starts) <= count


@given(st.lists(st.integers(0, SECOND), min_size=1, max_size=20), st.integers(1, 5))
def test_again_is_when_the_next_start_is_allowed(pauses: list[int], count: int) -> None:
    """At the moment that a claim names there is room for a start, and just before there was none."""
    rules = _rules((QUEUE, Limits(rate=Rate(count=count, seconds=1))))
    uses, now = _Uses(), 0
    for pause in pauses:
        now += pause
        allowed = _allowance(rules, now=now, uses=uses)
        _take(allowed, 2)
        uses.save(allowed)
    held_back = _allowance(rules, now=now, uses=uses)
    uses_up = _take(held_back, count + 1)
    uses.save(held_back)
    assert uses_up <= count
    assert held_back.again_seconds is not None
    again = now + round(held_back.again_seconds * SECOND)
    assert _allowance(rules, now=again, uses=uses).room("q") > 0
    assert _allowance(rules, now=again - 1, uses=uses).room("q") == 0


def test_a_rate_that_was_tightened_waits_until_enough_is_forgotten() -> None:
    """After a rate of 5 was used up, one of 2 waits for four of those starts to leave the window."""
    uses = _Uses()
    for number in range(5):
        allowed = _allowance(_rules((QUEUE, Limits(rate=Rate(count=5, seconds=10)))), now=number * SECOND, uses=uses)
        assert _take(allowed, 1) == 1
        uses.save(allowed)
    tightened = _allowance(_rules((QUEUE, Limits(rate=Rate(count=2, seconds=10)))), now=5 * SECOND, uses=uses)
    assert tightened.room("q") == 0
    assert tightened.again_seconds == pytest.approx(8.1)


# --- turns -----------------------------------------------------------------------------------------------------------


def _served(turns: TenantTurns, allowed: Allowance, waiting: dict[str, int], limit: int) -> list[str]:
    lines = {tenant: iter([_job(n, tenant) for n in range(jobs)]) for tenant, jobs in waiting.items()}
    return [job.tenant for job in choose(lines, turns, allowed, queue="q", limit=limit)]


def test_tenants_alike_take_turns() -> None:
    """One job each, and what one leaves goes to the others."""
    assert _served(TenantTurns(), _allowance(_rules()), {"a": 9, "b": 1, "c": 9}, 6) == ["a", "b", "c", "a", "c", "a"]


def test_weights_hold_for_claims_of_one() -> None:
    """A worker with one slot serves a tenant of weight 3 three times as often."""
    allowed, turns = _allowance(_rules((tenant_target("b"), Limits(weight=3)))), TenantTurns()
    served = Counter(tenant for _ in range(40) for tenant in _served(turns, allowed, {"a": 40, "b": 40}, 1))
    assert served == {"a": 10, "b": 30}


def test_who_was_away_saves_up_nothing() -> None:
    """A tenant that comes late shares from then on; it does not catch up on what others had before."""
    turns, allowed = TenantTurns(), _allowance(_rules())
    _served(turns, allowed, {"a": 50}, 50)
    assert Counter(_served(turns, allowed, {"a": 50, "b": 50}, 10)) == {"a": 5, "b": 5}


def test_thousands_of_tenants_are_not_remembered_for_ever() -> None:
    """Where tenants stand is forgotten once a newcomer would stand there."""
    turns, allowed = TenantTurns(), _allowance(_rules())
    for number in range(5_000):
        _served(turns, allowed, {f"t{number}": 1, "steady": 1}, 2)
    assert len(turns._places) < 500


def test_a_line_is_read_no_further_than_it_is_taken_from() -> None:
    """Lines read their jobs from a database: a tenant whose room is used up is left alone."""
    read: list[int] = []

    def line() -> Iterable[Candidate]:
        for number in range(100):
            read.append(number)
            yield _job(number)

    allowed = _allowance(_rules((tenant_target("acme"), Limits(concurrency=3))))
    chosen = choose({"acme": iter(line())}, TenantTurns(), allowed, queue="q", limit=10)
    assert (len(chosen), read) == (3, [0, 1, 2])
