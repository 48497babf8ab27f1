"""What flow control is: limits and pauses of a queue, a tenant, a persona or a custom key (rule 12).

A target has a stream of its own: who limited or paused it, when and why. A limited or paused target never blocks
another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, ClassVar, NamedTuple, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .errors import IllegalTransition, InvalidInput, ReasonRequired
from .event import Facts
from .identifiers import SYSTEM_TENANT, stream_id

CONCURRENCY_MAX = 100_000
RATE_COUNT_MAX, RATE_SECONDS_MIN, RATE_SECONDS_MAX = 1_000_000, 0.1, 31 * 86_400.0
WEIGHT_MAX = 100


class Scope(StrEnum):
    """What a limit is for. `key` is a custom key: the `limit_key` of jobs of one tenant."""

    QUEUE = "queue"
    TENANT = "tenant"
    PERSONA = "persona"
    KEY = "key"


class Target(NamedTuple):
    """What is limited. A queue is shared by all tenants, so its tenant is the installation's."""

    scope: Scope
    tenant: str
    subject: str
    """The queue, the persona or the key; for a tenant its name."""

    @property
    def stream(self) -> UUID:
        """The stream of the target."""
        return stream_id(self.tenant, "limit", f"{self.scope}:{self.subject}")


class Rate(BaseModel):
    """At most `count` starts in any window of `seconds` seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: Annotated[int, Field(ge=1, le=RATE_COUNT_MAX)]
    seconds: Annotated[float, Field(ge=RATE_SECONDS_MIN, le=RATE_SECONDS_MAX)]

    def __str__(self) -> str:
        """For people: `100/60s`; `parse` reads it."""
        seconds = str(int(self.seconds)) if self.seconds.is_integer() else repr(self.seconds)
        return f"{self.count}/{seconds}s"

    @classmethod
    def parse(cls, text: str) -> Rate:
        """A rate as people write it: `100/60s`, `10/s`, `500/5min`, `1000/h`, `5000/1d`. Raises `InvalidInput`."""
        written = _RATE.fullmatch(text.strip())
        if written is None:
            raise InvalidInput(f"{text[:60]!r} is no rate", field="rate", rule=_RATE_RULE, hint=_RATE_HINT)
        count, seconds = int(written[1]), float(written[2] or 1) * _UNIT_SECONDS[written[3]]
        if not 1 <= count <= RATE_COUNT_MAX:
            raise InvalidInput(
                f"{count} starts", field="rate", rule=f"1 to {RATE_COUNT_MAX} starts", hint=_RATE_HINT
            )  # fmt: skip
        if not RATE_SECONDS_MIN <= seconds <= RATE_SECONDS_MAX:
            raise InvalidInput(
                f"a window of {seconds:g} seconds", field="rate",
                rule=f"a window of {RATE_SECONDS_MIN:g} s to {RATE_SECONDS_MAX / 86_400:g} d", hint=_RATE_HINT,
            )  # fmt: skip
        return cls(count=count, seconds=seconds)


_UNIT_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
_RATE = re.compile(r"([0-9]{1,9})/([0-9]{1,9}(?:\.[0-9]{1,9})?)?(s|min|m|h|d)")
_RATE_RULE = "COUNT/WINDOW, the window in s, min, h or d"
_RATE_HINT = "for example 100/60s, 10/s or 1000/1h"


class Limits(BaseModel):
    """What is allowed. None is no limit; `weight` is a tenant's share of the turns, 1 for everybody by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    concurrency: Annotated[int, Field(ge=1, le=CONCURRENCY_MAX)] | None = None
    """Jobs that may run at the same time."""
    rate: Rate | None = None
    weight: Annotated[int, Field(ge=1, le=WEIGHT_MAX)] = 1

    def __str__(self) -> str:
        """For people: `5 at a time, 100/60s, weight 5`; `no limits` for none."""
        parts = [f"{self.concurrency} at a time"] if self.concurrency is not None else []
        parts += [str(self.rate)] if self.rate is not None else []
        parts += [f"weight {self.weight}"] if self.weight != 1 else []
        return ", ".join(parts) or "no limits"

    @property
    def is_default(self) -> bool:
        """Whether this limits nothing."""
        return self == NO_LIMITS


NO_LIMITS = Limits()

# --- events ----------------------------------------------------------------------------------------------------------


class _OfTarget(Facts):
    """Whose limits: `tenant` and `subject` as in `Target`; the scope stands in the topic."""

    scope: ClassVar[Scope]

    subject: str
    reason: str
    by_tenant: bool = False
    """Whether one of the tenant's own did it. What the installation did, only the installation undoes."""


class Limited(_OfTarget):
    """A target's limits are these from now on."""

    limits: Limits

    @model_validator(mode="after")
    def _only_tenants_have_weights(self) -> Self:
        if self.limits.weight != 1 and self.scope is not Scope.TENANT:
            raise ValueError("only a tenant has a weight")
        return self


class QueueLimited(Limited):
    """A queue's limits are these from now on."""

    topic: ClassVar[str] = "queue.limited"
    scope = Scope.QUEUE


class QueuePaused(_OfTarget):
    """Nothing of the queue is started until it is resumed."""

    topic: ClassVar[str] = "queue.paused"
    scope = Scope.QUEUE


class QueueResumed(_OfTarget):
    """Jobs of the queue are started again."""

    topic: ClassVar[str] = "queue.resumed"
    scope = Scope.QUEUE


class TenantLimited(Limited):
    """A tenant's limits and weight are these from now on."""

    topic: ClassVar[str] = "tenant.limited"
    scope = Scope.TENANT


class TenantPaused(_OfTarget):
    """Jobs of the tenant are taken but not started until it is unpaused. (A suspended tenant's are refused.)"""

    topic: ClassVar[str] = "tenant.paused"
    scope = Scope.TENANT


class TenantUnpaused(_OfTarget):
    """Jobs of the tenant are started again."""

    topic: ClassVar[str] = "tenant.unpaused"
    scope = Scope.TENANT


class PersonaLimited(Limited):
    """A persona's limits are these from now on."""

    topic: ClassVar[str] = "persona.limited"
    scope = Scope.PERSONA


class PersonaPaused(_OfTarget):
    """Nothing for the persona is started until it is resumed."""

    topic: ClassVar[str] = "persona.paused"
    scope = Scope.PERSONA


class PersonaResumed(_OfTarget):
    """Jobs for the persona are started again."""

    topic: ClassVar[str] = "persona.resumed"
    scope = Scope.PERSONA


class KeyLimited(Limited):
    """The limits of a custom key are these from now on."""

    topic: ClassVar[str] = "key.limited"
    scope = Scope.KEY


class KeyPaused(_OfTarget):
    """Nothing with the key is started until it is resumed."""

    topic: ClassVar[str] = "key.paused"
    scope = Scope.KEY


class KeyResumed(_OfTarget):
    """Jobs with the key are started again."""

    topic: ClassVar[str] = "key.resumed"
    scope = Scope.KEY


class _Topics(NamedTuple):
    """The events of a scope."""

    limited: type[Limited]
    paused: type[_OfTarget]
    resumed: type[_OfTarget]


_EVENTS = {
    Scope.QUEUE: _Topics(QueueLimited, QueuePaused, QueueResumed),
    Scope.TENANT: _Topics(TenantLimited, TenantPaused, TenantUnpaused),
    Scope.PERSONA: _Topics(PersonaLimited, PersonaPaused, PersonaResumed),
    Scope.KEY: _Topics(KeyLimited, KeyPaused, KeyResumed),
}

LIMIT_FACTS: tuple[type[Facts], ...] = tuple(event for events in _EVENTS.values() for event in events)

# --- state and decisions ---------------------------------------------------------------------------------------------


class FlowState(NamedTuple):
    """A target's limits and whether it is paused."""

    limits: Limits = NO_LIMITS
    paused: bool = False


def evolve(state: FlowState, facts: Facts) -> FlowState:
    """The state after an event of the target's stream; a target without events has `FlowState()`."""
    match facts:
        case Limited():
            return state._replace(limits=facts.limits)
        case QueuePaused() | TenantPaused() | PersonaPaused() | KeyPaused():
            return state._replace(paused=True)
        case QueueResumed() | TenantUnpaused() | PersonaResumed() | KeyResumed():
            return state._replace(paused=False)
        case _:
            raise InvalidInput(f"{facts.topic} is not an event of limits", field="topic")


class Imposed(NamedTuple):
    """What of a target's state is the installation's doing."""

    paused: bool = False
    limits: bool = False


def imposed(history: Iterable[Facts]) -> Imposed:
    """What the installation did to a target, as far as it is in force; `history`: all facts of the target's stream."""
    found = Imposed()
    for facts in history:
        of_installation = not getattr(facts, "by_tenant", False)
        if isinstance(facts, Limited):
            found = found._replace(limits=of_installation and not facts.limits.is_default)
        else:
            paused = evolve(FlowState(), facts).paused
            found = found._replace(paused=of_installation and paused)
    return found


def limit(
    state: FlowState, target: Target, limits: Limits, *, reason: str, by_tenant: bool = False
) -> tuple[Facts, ...]:  # fmt: skip
    """These limits from now on; `NO_LIMITS` removes them. Nothing happens where they are in force already."""
    _require_reason(reason, "changing limits")
    if limits.weight != 1 and target.scope is not Scope.TENANT:
        raise InvalidInput("only a tenant has a weight", field="weight", rule="is for scope tenant")
    if state.limits == limits:
        return ()
    limited = _EVENTS[target.scope].limited
    return (limited(subject=target.subject, reason=reason, limits=limits, by_tenant=by_tenant),)


def pause(state: FlowState, target: Target, *, reason: str, by_tenant: bool = False) -> tuple[Facts, ...]:
    """Start nothing of the target until it is resumed; what runs goes on."""
    _require_reason(reason, f"pausing a {target.scope}")
    if state.paused:
        raise IllegalTransition(
            "paused", "paused", what=str(target.scope), hint="jobledger limits history says since when, by whom and why"
        )
    return (_EVENTS[target.scope].paused(subject=target.subject, reason=reason, by_tenant=by_tenant),)


def resume(state: FlowState, target: Target, *, reason: str, by_tenant: bool = False) -> tuple[Facts, ...]:
    """Start jobs of the target again."""
    _require_reason(reason, f"resuming a {target.scope}")
    if not state.paused:
        raise IllegalTransition(
            "running", "resumed", what=str(target.scope), hint="jobledger limits list says what is paused"
        )
    return (_EVENTS[target.scope].resumed(subject=target.subject, reason=reason, by_tenant=by_tenant),)


def queue_target(queue: str) -> Target:
    """A queue, whose events belong to the installation."""
    return Target(Scope.QUEUE, SYSTEM_TENANT, queue)


def tenant_target(tenant: str) -> Target:
    """A tenant."""
    return Target(Scope.TENANT, tenant, tenant)


def target_of(
    *, queue: str | None = None, tenant: str | None = None, persona: str | None = None, key: str | None = None
) -> Target:
    """The target that somebody names: a queue alone, a tenant alone, or a tenant with a persona or a key.

    Raises `InvalidInput` for what names none, or more than one.
    """
    if queue is not None:
        if (tenant, persona, key) != (None, None, None):
            raise InvalidInput(
                "a queue is shared by all tenants: its limits are nobody's own", field="queue",
                rule="stands alone", hint="limit the queue, or the tenant, or a key of the tenant's jobs",
            )  # fmt: skip
        return queue_target(queue)
    if persona is not None and key is not None:
        raise InvalidInput("a persona or a key, not both", field="key", rule="one target at a time")
    if tenant is None:
        field = "persona" if persona is not None else "key" if key is not None else "target"
        raise InvalidInput(
            "whose?" if field != "target" else "of what?", field="tenant" if field != "target" else field,
            rule="a queue, or a tenant, alone or with one of its personas or keys",
        )  # fmt: skip
    if persona is not None:
        return Target(Scope.PERSONA, tenant, persona)
    return tenant_target(tenant) if key is None else Target(Scope.KEY, tenant, key)


def _require_reason(reason: str, act: str) -> None:
    if not reason.strip():
        raise ReasonRequired(act)
