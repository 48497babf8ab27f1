"""Queues, limits and pauses."""

from __future__ import annotations

from jobledger.application.limit_messages import (
    GetLimitHistory,
    ListLimits,
    ListQueues,
    PauseTarget,
    RemoveLimits,
    ResumeTarget,
    SetLimits,
    TargetChanged,
)
from jobledger.application.result import Accepted

from ...api.jobs import ReasonRequest
from ...api.queues import LimitsRequest
from ...shapes import jobs as shapes
from ...shapes.limits import limit_entries
from .asked import Asked, Reply


def list_queues(asked: Asked) -> Reply:
    """GET queues."""
    return Reply({"queues": [shapes.queue(row) for row in asked.ask(ListQueues).value]})


def pause(asked: Asked) -> Reply:
    """POST pause, of a queue, a tenant, a persona or a limit key."""
    return _target(asked.ask(PauseTarget, **asked.place, reason=asked.body(ReasonRequest).reason))


def resume(asked: Asked) -> Reply:
    """POST resume of a queue, a persona, a limit key; unpause of a tenant."""
    return _target(asked.ask(ResumeTarget, **asked.place, reason=asked.body(ReasonRequest).reason))


def list_limits(asked: Asked) -> Reply:
    """GET limits."""
    rows = asked.ask(ListLimits, tenant=asked.one("tenant"), scope=asked.one("scope")).value
    return Reply({"limits": [shapes.limit(row) for row in rows]})


def get_limits(asked: Asked) -> Reply:
    """GET a target's limits."""
    past = asked.ask(
        GetLimitHistory, **_named(asked), after_version=asked.number("after_version"), limit=asked.number("limit")
    ).value  # fmt: skip
    shape = shapes.limit_history(past, limit_entries(past.events))
    shape["next_version"] = shape.pop("next")
    return Reply(asked.told(shape))


def set_limits(asked: Asked) -> Reply:
    """PUT a target's limits."""
    body = asked.body(LimitsRequest)
    return _target(asked.ask(
        SetLimits, **_named(asked), concurrency=body.concurrency, weight=body.weight, reason=body.reason,
        rate=None if body.rate is None else body.rate.model_dump(),
    ))  # fmt: skip


def remove_limits(asked: Asked) -> Reply:
    """DELETE a target's limits."""
    return _target(asked.ask(
        RemoveLimits, **_named(asked), concurrency=asked.flag("concurrency"), rate=asked.flag("rate"),
        weight=asked.flag("weight"), reason=asked.one("reason"),
    ))  # fmt: skip


def _named(asked: Asked) -> dict[str, str | None]:
    return {"tenant": asked.one("tenant"), asked.place["scope"]: asked.place["name"]}


def _target(accepted: Accepted[TargetChanged]) -> Reply:
    return Reply({**shapes.target_changed(accepted.value), "position": accepted.position})
