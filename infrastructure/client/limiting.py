"""Limits and pauses: of queues, tenants, personas and limit keys. Manual acts carry a reason."""

from __future__ import annotations

from typing import Any

from ..api.jobs import ReasonRequest
from ..api.queues import Limit, LimitHistory, Limits, LimitsRequest, Queue, Queues, RateRequest, Scope, TargetChanged
from .core import Core, ask, path
from .exchange import Flow

# --- limits ----------------------------------------------------------------------------------------------------------


def list_limits(core: Core, *, tenant: str | None = None, scope: Scope | None = None) -> Flow[list[Limit]]:
    """Everything that is limited or paused, of all tenants; with `tenant`, what is that tenant's own."""
    request = core.request("GET", path("limits"), parameters={"tenant": tenant, "scope": scope})
    return (yield from ask(core, request, Limits)).limits


def get_limits(
    core: Core, scope: Scope, name: str, *, tenant: str | None = None, after_version: int = 0, limit: int | None = None
) -> Flow[LimitHistory]:
    """A target's limits, and who changed them when and why: a page of its events behind `after_version`.

    A `queue` or a `tenant` is named by `name` alone; a `persona` or a `key` belongs to `tenant` (the client's, where
    none is given). What nobody ever limited has no limits and no events.
    """
    parameters = {"tenant": _owner(core, scope, tenant), "after_version": after_version or None, "limit": limit}
    return ask(core, core.request("GET", path("limits", scope, name), parameters=parameters), LimitHistory)


def set_limits(
    core: Core,
    scope: Scope,
    name: str,
    *,
    reason: str,
    concurrency: int | None = None,
    rate: tuple[int, float] | None = None,
    weight: int | None = None,
    tenant: str | None = None,
) -> Flow[TargetChanged]:
    """Limit a target (named as by `get`): `concurrency` jobs at a time, a `rate` of (starts, seconds) in any window, a
    tenant's `weight` among the turns. What is not given stays as it is; jobs that run are left alone."""
    said: dict[str, Any] = {"concurrency": concurrency, "weight": weight, "reason": reason}
    if rate is not None:
        said["rate"] = RateRequest(count=rate[0], seconds=rate[1])
    body = LimitsRequest(**{name: value for name, value in said.items() if value is not None})
    parameters = {"tenant": _owner(core, scope, tenant)}
    request = core.request("PUT", path("limits", scope, name), parameters=parameters, body=body)
    return ask(core, request, TargetChanged, repeatable=True)


def remove_limits(
    core: Core,
    scope: Scope,
    name: str,
    *,
    reason: str,
    concurrency: bool = False,
    rate: bool = False,
    weight: bool = False,
    tenant: str | None = None,
) -> Flow[TargetChanged]:
    """Remove the limits of a target that are named, or all of them where none is. A pause stays."""
    parameters = {
        "tenant": _owner(core, scope, tenant), "concurrency": concurrency or None, "rate": rate or None,
        "weight": weight or None, "reason": reason,
    }  # fmt: skip
    request = core.request("DELETE", path("limits", scope, name), parameters=parameters)
    return ask(core, request, TargetChanged, repeatable=True)


# --- pauses ----------------------------------------------------------------------------------------------------------


def list_queues(core: Core) -> Flow[list[Queue]]:
    """All queues with their open jobs, of all tenants together."""
    return (yield from ask(core, core.request("GET", path("queues")), Queues)).queues


def pause_queue(core: Core, queue: str, *, reason: str) -> Flow[TargetChanged]:
    """Start nothing of a queue until it is resumed: jobs are still taken, and what runs goes on. Raises `Conflict`
    where it is paused already."""
    return _told(core, path("queues", queue, "pause"), reason)


def resume_queue(core: Core, queue: str, *, reason: str) -> Flow[TargetChanged]:
    """Start jobs of a paused queue again. Raises `Conflict` where it is not paused."""
    return _told(core, path("queues", queue, "resume"), reason)


def pause_tenant(core: Core, name: str, *, reason: str) -> Flow[TargetChanged]:
    """Start nothing of a tenant until it is unpaused; its jobs are still taken."""
    return _told(core, path("tenants", name, "pause"), reason)


def unpause_tenant(core: Core, name: str, *, reason: str) -> Flow[TargetChanged]:
    """Start jobs of a paused tenant again."""
    return _told(core, path("tenants", name, "unpause"), reason)


def pause_persona(core: Core, persona: str, *, reason: str, tenant: str | None = None) -> Flow[TargetChanged]:
    """Start nothing of a persona until it is resumed; its jobs are still taken."""
    return _told(core, core.place(tenant, "personas", persona, "pause"), reason)


def resume_persona(core: Core, persona: str, *, reason: str, tenant: str | None = None) -> Flow[TargetChanged]:
    """Start jobs of a paused persona again."""
    return _told(core, core.place(tenant, "personas", persona, "resume"), reason)


def pause_limit_key(core: Core, key: str, *, reason: str, tenant: str | None = None) -> Flow[TargetChanged]:
    """Start nothing of a limit key until it is resumed; `gateway:*` is each key that begins so."""
    return _told(core, core.place(tenant, "limit-keys", key, "pause"), reason)


def resume_limit_key(core: Core, key: str, *, reason: str, tenant: str | None = None) -> Flow[TargetChanged]:
    """Start jobs of a paused limit key again."""
    return _told(core, core.place(tenant, "limit-keys", key, "resume"), reason)


def _told(core: Core, where: str, reason: str) -> Flow[TargetChanged]:
    return ask(core, core.request("POST", where, body=ReasonRequest(reason=reason)), TargetChanged)


def _owner(core: Core, scope: Scope, tenant: str | None) -> str | None:
    """Whose target it is: queues and tenants are named by themselves."""
    if scope in ("queue", "tenant"):
        return tenant  # which the server refuses
    return core.tenant_of(tenant)
