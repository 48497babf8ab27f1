"""What operators look at and do: tenants, workers, job types, statistics."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ..api.jobs import ReasonRequest
from ..api.leases import RegisterTypesRequest, TypesRegistered
from ..api.statistics import Statistics
from ..api.tenants import Tenant, TenantChanged, TenantRequest, Tenants
from ..api.workers import JobType, JobTypes, Worker, Workers
from .core import Core, ask, path
from .exchange import Flow

# --- tenants ---------------------------------------------------------------------------------------------------------


def list_tenants(core: Core) -> Flow[list[Tenant]]:
    """Those that the key may know of, by name."""
    return (yield from ask(core, core.request("GET", path("tenants")), Tenants)).tenants


def create_tenant(core: Core, name: str, *, display_name: str = "", reason: str = "") -> Flow[TenantChanged]:
    """Make a tenant; its name is its id, for ever. Raises `Conflict` where there is one of that name."""
    body = TenantRequest(name=name, display_name=display_name, reason=reason)
    return ask(core, core.request("POST", path("tenants"), body=body), TenantChanged)


def suspend_tenant(core: Core, name: str, *, reason: str) -> Flow[TenantChanged]:
    """Take and run no jobs for a tenant."""
    return ask(core, core.request("POST", path("tenants", name, "suspend"), body=_why(reason)), TenantChanged)


def resume_tenant(core: Core, name: str, *, reason: str) -> Flow[TenantChanged]:
    """Take and run jobs for a tenant again."""
    return ask(core, core.request("POST", path("tenants", name, "resume"), body=_why(reason)), TenantChanged)


# --- workers and job types -------------------------------------------------------------------------------------------


def list_workers(core: Core, *, lost: bool = False) -> Flow[list[Worker]]:
    """Who works, on what, the longest running first; with `lost` also those not heard of while their lease lasted."""
    request = core.request("GET", path("workers"), parameters={"lost": lost or None})
    return (yield from ask(core, request, Workers)).workers


def list_job_types(core: Core) -> Flow[list[JobType]]:
    """The job types that programs registered, with their schemas, by name."""
    return (yield from ask(core, core.request("GET", path("job-types")), JobTypes)).types


def register_job_types(
    core: Core, app: str, definitions: Sequence[dict[str, Any]], *, code_version: str
) -> Flow[TypesRegistered]:
    """Publish the job types of a program, as a worker does when it starts: dicts with `name`, `payload_schema`,
    `result_schema`, `effects`, `options`, as `list` shows them. What is in force already changes nothing. Raises
    `InvalidRequest` for a definition that may not be published."""
    body = RegisterTypesRequest(app=app, code_version=code_version, definitions=list(definitions))
    return ask(core, core.request("POST", path("job-types"), body=body), TypesRegistered, repeatable=True)


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


def _why(reason: str) -> ReasonRequest:
    return ReasonRequest(reason=reason)
