"""Tenants, statistics."""

from __future__ import annotations

from typing import Final

from jobledger.application.commands import CreateTenant, ResumeTenant, SuspendTenant, TenantChanged
from jobledger.application.ports import GroupBy
from jobledger.application.queries import ListTenants
from jobledger.application.result import Accepted
from jobledger.application.statistics import GetQueueStatistics, GetTenantStatistics

from ...api.jobs import ReasonRequest
from ...api.tenants import TenantRequest
from ...shapes.statistics import report
from .asked import Asked, Reply

_GROUPED: Final = {
    "type": GroupBy.JOB_TYPE, "queue": GroupBy.QUEUE, "persona": GroupBy.PERSONA, "hour": GroupBy.BUCKET,
    "minute": GroupBy.BUCKET,
}  # fmt: skip


def list_tenants(asked: Asked) -> Reply:
    """GET tenants."""
    rows = asked.ask(ListTenants).value
    return Reply({
        "tenants": [{"name": row.name, "status": row.status.value, "display_name": row.display_name} for row in rows]
    })  # fmt: skip


def create_tenant(asked: Asked) -> Reply:
    """POST tenants."""
    body = asked.body(TenantRequest)
    made = asked.ask(CreateTenant, name=body.name, display_name=body.display_name, reason=body.reason)
    return _tenant(made, status=201)


def suspend_tenant(asked: Asked) -> Reply:
    """POST suspend."""
    return _tenant(asked.ask(SuspendTenant, name=asked.tenant, reason=asked.body(ReasonRequest).reason))


def resume_tenant(asked: Asked) -> Reply:
    """POST resume."""
    return _tenant(asked.ask(ResumeTenant, name=asked.tenant, reason=asked.body(ReasonRequest).reason))


def tenant_statistics(asked: Asked) -> Reply:
    """GET what happened to a tenant's jobs."""
    groups = _groups(asked)
    found = asked.ask(GetTenantStatistics, tenant=asked.tenant, by=groups, **_bounds(asked)).value
    return Reply(asked.told(report(found, groups)))


def queue_statistics(asked: Asked) -> Reply:
    """GET what happened in the queues."""
    groups = _groups(asked)
    return Reply(asked.told(report(asked.ask(GetQueueStatistics, by=groups, **_bounds(asked)).value, groups)))


def _bounds(asked: Asked) -> dict[str, object]:
    return {
        "since": asked.time("since"), "until": asked.time("until"), "limit": asked.number("limit"),
        "after": asked.one("after"),
    }  # fmt: skip


def _groups(asked: Asked) -> frozenset[GroupBy]:
    return frozenset(_GROUPED[name] for name in asked.many("by"))


def _tenant(accepted: Accepted[TenantChanged], status: int = 200) -> Reply:
    made = accepted.value
    return Reply({"name": made.name, "status": made.status, "position": accepted.position}, status)
