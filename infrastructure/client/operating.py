"""What operators do: pause and resume, tenants, statistics."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ..api.jobs import ReasonRequest
from ..api.queues import Queue, Queues, TargetChanged
from ..api.statistics import Statistics
from ..api.tenants import Tenant, TenantChanged, TenantRequest, Tenants
from .core import Core, ask, path
from .exchange import Flow

# --- queues ----------------------------------------------------------------------------------------------------------


def list_queues(core: Core) -> Flow[list[Queue]]:
    """All queues with their open jobs, of all tenants together."""
    return (yield from ask(core, core.request("GET", path("queues")), Queues)).queues


def pause_queue(core: Core, queue: str, *, reason: str) -> Flow[TargetChanged]:
    """Start nothing of a queue until it is resumed: jobs are still taken, and what runs goes on."""
    return _told(core, path("queues", queue, "pause"), reason)


def resume_queue(core: Core, queue: str, *, reason: str) -> Flow[TargetChanged]:
    """Start jobs of a paused queue again."""
    return _told(core, path("queues", queue, "resume"), reason)


# --- tenants ---------------------------------------------------------------------------------------------------------


def list_tenants(core: Core) -> Flow[list[Tenant]]:
    """Those that the key may know of, by name."""
    return (yield from ask(core, core.request("GET", path("tenants")), Tenants)).tenants


def create_tenant(core: Core, name: str, *, display_name: str = "", reason: str = "") -> Flow[TenantChanged]:
    """Make a tenant; its name is its id, for ever."""
    body = TenantRequest(name=name, display_name=display_name, reason=reason)
    return ask(core, core.request("POST", path("tenants"), body=body), TenantChanged)


def suspend_tenant(core: Core, name: str, *, reason: str) -> Flow[TenantChanged]:
    """Take and run no jobs for a tenant."""
    return ask(core, core.request("POST", path("tenants", name, "suspend"), body=_why(reason)), TenantChanged)


def resume_tenant(core: Core, name: str, *, reason: str) -> Flow[TenantChanged]:
    """Take and run jobs for a tenant again."""
    return ask(core, core.request("POST", path("tenants", name, "resume"), body=_why(reason)), TenantChanged)


def pause_tenant(core: Core, name: str, *, reason: str) -> Flow[TargetChanged]:
    """Start nothing of a tenant until it is unpaused; its jobs are still taken."""
    return _told(core, path("tenants", name, "pause"), reason)


def unpause_tenant(core: Core, name: str, *, reason: str) -> Flow[TargetChanged]:
    """Start jobs of a paused tenant again."""
    return _told(core, path("tenants", name, "unpause"), reason)


# --- statistics ------------------------------------------------------------------------------------------------------


def statistics(
    core: Core,
    *,
    tenant: str | None = None,
    by: Sequence[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int | None = None,
    after: str | None = None,
) -> Flow[Statistics]:
    """What happened to a tenant's jobs, told apart `by` type, queue, persona and hour."""
    return ask(core, core.request("GET", core.place(tenant, "statistics"), parameters={
        "by": by, "since": since, "until": until, "limit": limit, "after": after,
    }), Statistics)  # fmt: skip


def queue_statistics(
    core: Core,
    *,
    by: Sequence[str] = ("queue",),
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int | None = None,
    after: str | None = None,
) -> Flow[Statistics]:
    """What happened in the queues, of all tenants together, told apart `by` queue and minute."""
    return ask(core, core.request("GET", path("statistics", "queues"), parameters={
        "by": by, "since": since, "until": until, "limit": limit, "after": after,
    }), Statistics)  # fmt: skip


def _told(core: Core, where: str, reason: str) -> Flow[TargetChanged]:
    return ask(core, core.request("POST", where, body=_why(reason)), TargetChanged)


def _why(reason: str) -> ReasonRequest:
    return ReasonRequest(reason=reason)
