"""Limits and pauses: what may be decided about a target in each of its states."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from jobledger.domain.errors import IllegalTransition, InvalidInput, ReasonRequired
from jobledger.domain.event import Facts
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.limit import (
    CONCURRENCY_MAX,
    LIMIT_FACTS,
    NO_LIMITS,
    RATE_COUNT_MAX,
    RATE_SECONDS_MAX,
    RATE_SECONDS_MIN,
    WEIGHT_MAX,
    FlowState,
    KeyLimited,
    Limits,
    PersonaLimited,
    QueueLimited,
    QueuePaused,
    QueueResumed,
    Rate,
    Scope,
    Target,
    TenantLimited,
    TenantPaused,
    TenantUnpaused,
    evolve,
    imposed,
    limit,
    pause,
    queue_target,
    resume,
    target_of,
    tenant_target,
)
from tests.support.given import dispatched

BILLING, ACME = queue_target("billing"), tenant_target("acme")
BOT, KEY = Target(Scope.PERSONA, "acme", "billing-bot"), Target(Scope.KEY, "acme", "gateway:*")
TARGETS = pytest.mark.parametrize("target", [BILLING, ACME, BOT, KEY], ids=lambda target: target.scope)
FIVE = Limits(concurrency=5, rate=Rate(count=100, seconds=60))
STATES = {
    "untouched": FlowState(), "limited": FlowState(FIVE), "paused": FlowState(NO_LIMITS, paused=True),
    "limited and paused": FlowState(FIVE, paused=True),
}  # fmt: skip
IN_EVERY_STATE = pytest.mark.parametrize("state", STATES.values(), ids=STATES)


def after(state: FlowState, decided: tuple[Facts, ...]) -> FlowState:
    """The state once what was decided has happened."""
    return reduce(evolve, decided, state)


# --- decisions -------------------------------------------------------------------------------------------------------


@TARGETS
@IN_EVERY_STATE
def test_limits_are_replaced_in_every_state(target: Target, state: FlowState) -> None:
    """A pause stays what it was; the event says what was limited, to what, and why."""
    wanted = Limits(concurrency=1)
    (event,) = limit(state, target, wanted, reason="agreed")
    assert event.topic == f"{target.scope}.limited"
    assert event.model_dump() == {
        "subject": target.subject, "reason": "agreed", "by_tenant": False, "limits": wanted.model_dump()
    }  # fmt: skip
    assert after(state, (event,)) == FlowState(wanted, state.paused)


@TARGETS
@IN_EVERY_STATE
def test_limits_that_are_in_force_already_are_no_event(target: Target, state: FlowState) -> None:
    """Saying it again changes nothing and records nothing; removing what is not there neither."""
    assert limit(state, target, state.limits, reason="again") == ()


@TARGETS
@IN_EVERY_STATE
def test_a_target_is_paused_once(target: Target, state: FlowState) -> None:
    """Its limits stay; what is paused cannot be paused."""
    if state.paused:
        with pytest.raises(IllegalTransition) as caught:
            pause(state, target, reason="provider down")
        assert (caught.value.status, str(target.scope) in str(caught.value)) == ("paused", True)
    else:
        (event,) = pause(state, target, reason="provider down")
        assert event.topic == f"{target.scope}.paused"
        assert after(state, (event,)) == FlowState(state.limits, paused=True)


@TARGETS
@IN_EVERY_STATE
def test_only_what_is_paused_is_resumed(target: Target, state: FlowState) -> None:
    """With the limits it had. A tenant is unpaused, as `tenant.resumed` ends a suspension."""
    if state.paused:
        (event,) = resume(state, target, reason="provider back")
        assert event.topic == ("tenant.unpaused" if target is ACME else f"{target.scope}.resumed")
        assert after(state, (event,)) == FlowState(state.limits)
    else:
        with pytest.raises(IllegalTransition):
            resume(state, target, reason="provider back")


@TARGETS
@pytest.mark.parametrize(
    "decide",
    [
        lambda target, reason: limit(FlowState(), target, FIVE, reason=reason),
        lambda target, reason: limit(FlowState(FIVE), target, FIVE, reason=reason),
        lambda target, reason: pause(FlowState(), target, reason=reason),
        lambda target, reason: resume(FlowState(paused=True), target, reason=reason),
    ],
    ids=["limit", "limit again", "pause", "resume"],
)
def test_every_act_needs_a_reason(target: Target, decide: Callable[[Target, str], tuple[Facts, ...]]) -> None:
    """Also one that would change nothing."""
    with pytest.raises(ReasonRequired):
        decide(target, " \n")


def test_only_a_tenant_has_a_weight() -> None:
    """It is refused for others, in the decision and in the event."""
    weighty = Limits(weight=5)
    assert after(FlowState(), limit(FlowState(), ACME, weighty, reason="big")).limits == weighty
    for target in (BILLING, BOT, KEY):
        with pytest.raises(InvalidInput) as caught:
            limit(FlowState(), target, weighty, reason="big")
        assert caught.value.field == "weight"
    for event in (QueueLimited, PersonaLimited, KeyLimited):
        with pytest.raises(ValidationError, match="only a tenant"):
            event(subject="billing", reason="big", limits=weighty)
    assert TenantLimited(subject="acme", reason="big", limits=weighty).limits == weighty


# --- evolution -------------------------------------------------------------------------------------------------------

LIMITS = st.builds(
    Limits, concurrency=st.none() | st.integers(1, CONCURRENCY_MAX),
    rate=st.none() | st.builds(
        Rate, count=st.integers(1, RATE_COUNT_MAX), seconds=st.floats(RATE_SECONDS_MIN, RATE_SECONDS_MAX)
    ),
)  # fmt: skip
ACTS = st.lists(st.one_of(st.just("pause"), st.just("resume"), LIMITS), max_size=12)


@for_all(acts=ACTS)
def test_the_state_is_what_was_accepted_last(acts: list[str | Limits]) -> None:
    """Whatever is done to a target, in whatever order: limits are the last ones set, it is paused if that came last."""
    state = FlowState()
    limits, paused = NO_LIMITS, False
    for act in acts:
        if isinstance(act, Limits):
            decided, limits = limit(state, BOT, act, reason="why"), act
        elif (act == "pause") == paused:
            continue  # refused, as tests above show
        else:
            paused = not paused
            decided = (pause if paused else resume)(state, BOT, reason="why")
        state = after(state, decided)
    assert state == FlowState(limits, paused)


def test_every_event_of_a_target_has_an_effect() -> None:
    """None is left out of the evolution."""
    about = {"subject": "x", "reason": "why"}
    for facts in LIMIT_FACTS:
        limited = facts.topic.endswith(".limited")
        event = facts.model_validate({**about, "limits": FIVE} if limited else about)
        before = FlowState(paused=not facts.topic.endswith(".paused"))
        assert evolve(before, event) != before, facts.topic


def test_what_the_installation_did_is_known_as_long_as_it_is_in_force() -> None:
    """A pause until somebody resumes, limits until they are removed; what the tenant did itself is not imposed."""
    state = FlowState()
    history: list[Facts] = []
    for decide, by_tenant, expected in (
        (pause, True, (False, False)), (resume, False, (False, False)), (pause, False, (True, False)),
        (partial(limit, limits=Limits(concurrency=1)), False, (True, True)), (resume, False, (False, True)),
        (partial(limit, limits=NO_LIMITS), False, (False, False)),
        (partial(limit, limits=Limits(concurrency=2)), True, (False, False)),
    ):  # fmt: skip
        decided = decide(state, BOT, reason="x", by_tenant=by_tenant)
        state, history = after(state, decided), [*history, *decided]
        assert imposed(history) == expected


def test_a_tenants_pause_is_not_its_suspension() -> None:
    """They have events of their own, so that each is read as what it is."""
    assert (TenantPaused.topic, TenantUnpaused.topic) == ("tenant.paused", "tenant.unpaused")
    assert (QueuePaused.topic, QueueResumed.topic) == ("queue.paused", "queue.resumed")


def test_events_of_other_streams_do_not_belong_to_a_target() -> None:
    """They are refused, not skipped."""
    with pytest.raises(InvalidInput):
        evolve(FlowState(), dispatched())


# --- targets and rates -----------------------------------------------------------------------------------------------


def test_a_target_is_named_in_one_way() -> None:
    """A queue alone, a tenant alone, or a tenant with one of its personas or keys."""
    assert target_of(queue="billing") == Target(Scope.QUEUE, SYSTEM_TENANT, "billing") == BILLING
    assert target_of(tenant="acme") == ACME
    assert target_of(tenant="acme", persona="billing-bot") == BOT
    assert target_of(tenant="acme", key="gateway:*") == KEY


@pytest.mark.parametrize(
    ("named", "field"),
    [
        ({}, "target"), ({"persona": "bot"}, "tenant"), ({"key": "k"}, "tenant"),
        ({"queue": "q", "tenant": "acme"}, "queue"), ({"queue": "q", "persona": "bot"}, "queue"),
        ({"queue": "q", "key": "k"}, "queue"), ({"tenant": "acme", "persona": "bot", "key": "k"}, "key"),
    ],
)  # fmt: skip
def test_what_names_none_or_several_is_refused(named: dict[str, str], field: str) -> None:
    """The field that is missing or too much is named."""
    with pytest.raises(InvalidInput) as caught:
        target_of(**named)
    assert caught.value.field == field


def test_every_target_has_a_stream_of_its_own() -> None:
    """Also where a queue, a tenant, a persona and a key share a name."""
    named = [queue_target("x"), tenant_target("x"), Target(Scope.PERSONA, "x", "x"), Target(Scope.KEY, "x", "x")]
    assert len({target.stream for target in [*named, Target(Scope.KEY, "y", "x")]}) == 5


@pytest.mark.parametrize(
    ("text", "count", "seconds"),
    [
        ("100/60s", 100, 60), ("10/s", 10, 1), ("5/min", 5, 60), ("5/m", 5, 60), ("500/5min", 500, 300),
        ("1000/1h", 1_000, 3_600), ("5000/d", 5_000, 86_400), ("1/0.5s", 1, 0.5), (" 1/31d ", 1, 31 * 86_400),
    ],
)  # fmt: skip
def test_a_rate_is_read_as_people_write_it(text: str, count: int, seconds: float) -> None:
    """A count, a slash, a window; the window's number may be left out."""
    assert Rate.parse(text) == Rate(count=count, seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "", "5", "5/", "/s", "0/s", "1000001/s", "5/0.05s", "5/0s", "5/32d", "5/10ms", "-5/s", "5/s/s", "5/-1s",
        "5 / s", "five/s", "1e3/s", "\u0665/s", "5/infs",
    ],
)  # fmt: skip
def test_what_is_no_rate_says_how_one_is_written(text: str) -> None:
    """The refusal names the field and gives an example."""
    with pytest.raises(InvalidInput) as caught:
        Rate.parse(text)
    assert caught.value.field == "rate"
    assert caught.value.rule and "100/60s" in (caught.value.hint or "")


@for_all(
    rate=st.builds(
        Rate,
        count=st.integers(1, RATE_COUNT_MAX),
        seconds=st.one_of(
            st.integers(1, int(RATE_SECONDS_MAX)).map(float), st.integers(1, 10**6).map(lambda n: n / 10)
        ),
    )
)
def test_a_rate_reads_what_it_writes(rate: Rate) -> None:
    """Nothing is rounded on the way to people and back."""
    assert Rate.parse(str(rate)) == rate


def test_limits_are_told_in_words() -> None:
    """What is not limited is not mentioned."""
    assert str(Limits(concurrency=5, rate=Rate(count=100, seconds=60), weight=7)) == "5 at a time, 100/60s, weight 7"
    assert str(Limits(rate=Rate(count=1, seconds=0.5))) == "1/0.5s"
    assert str(NO_LIMITS) == "no limits"


@pytest.mark.parametrize(
    "fields",
    [
        {"concurrency": 0}, {"concurrency": CONCURRENCY_MAX + 1}, {"weight": 0}, {"weight": WEIGHT_MAX + 1},
        {"rate": {"count": 0, "seconds": 1}}, {"rate": {"count": 1, "seconds": 0}}, {"unknown": 1},
    ],
)  # fmt: skip
def test_a_limit_out_of_bounds_is_refused(fields: dict[str, object]) -> None:
    """Nobody is limited to nothing: that is a pause."""
    with pytest.raises(ValidationError):
        Limits.model_validate(fields)
