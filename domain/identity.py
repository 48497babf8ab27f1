"""Who may do what: roles, what each permits, and for which tenants and queues an identity holds them.

An identity is technical (a service, a worker) or a person. What it may do is the union of its grants; the permissions
to see customers' data and to bring dead jobs back belong to no role but `admin`, and are granted by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from .options import QueueName
from .tenant import TenantName


class Permission(StrEnum):
    """What can be permitted. The value is stored and shown."""

    DISPATCH = "jobs.dispatch"
    READ = "jobs.read"
    """Lists, facts and histories of jobs, statistics, limits: no payload, result, log line or traceback."""
    READ_PAYLOADS = "payloads.read"
    OPERATE = "jobs.operate"
    """Cancel, reschedule, discard."""
    REQUEUE = "dlq.requeue"
    WORK = "jobs.work"
    """Claim jobs and end their attempts, with their payloads. Technical identities only."""
    FLOW = "queues.operate"
    """Pause, resume, limit."""
    VIEWS = "projections.operate"
    """Rebuild and compare views: of the whole installation."""
    AUDIT = "audit.read"
    REGISTER_TYPES = "job_types.register"
    TENANTS = "tenants.administer"
    KEYS = "keys.administer"


class Role(StrEnum):
    """What identities are made for."""

    EMITTER = "emitter"
    WORKER = "worker"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"


ROLE_PERMISSIONS: Final[dict[Role, frozenset[Permission]]] = {
    Role.EMITTER: frozenset({Permission.DISPATCH, Permission.READ}),
    Role.WORKER: frozenset({Permission.WORK, Permission.REGISTER_TYPES}),
    Role.OPERATOR: frozenset({Permission.READ, Permission.OPERATE, Permission.FLOW, Permission.VIEWS}),
    Role.AUDITOR: frozenset({Permission.READ, Permission.AUDIT}),
    Role.ADMIN: frozenset(Permission) - {Permission.WORK},
}

EXTRA_PERMISSIONS: Final = frozenset({Permission.READ_PAYLOADS, Permission.REQUEUE})
"""What may be granted beside a role."""

TECHNICAL_ONLY: Final = frozenset({Permission.WORK})


class Grant(BaseModel):
    """A role, and more permissions beside it, for tenants and queues; None means all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    tenants: frozenset[TenantName] | None = None
    queues: frozenset[QueueName] | None = None
    extra: frozenset[Permission] = frozenset()

    @field_serializer("tenants", "queues", "extra", when_used="json")
    def _in_order(self, names: frozenset[str] | None) -> list[str] | None:
        """A set has no order of its own: what is stored is the same each time."""
        return None if names is None else sorted(names)

    @property
    def permissions(self) -> frozenset[Permission]:
        """All that it permits."""
        return ROLE_PERMISSIONS[self.role] | self.extra

    def covers(self, tenant: str | None, queue: str | None) -> bool:
        """Whether it holds for a tenant and a queue. None asks for all of them: only an unlimited grant covers that."""
        return _within(tenant, self.tenants) and _within(queue, self.queues)


def _within(asked: str | None, allowed: frozenset[str] | None) -> bool:
    return allowed is None or (asked is not None and asked in allowed)


class Identity(BaseModel):
    """Who asks, once proved. `id` is what the ledger records as actor: `key:1a2b3c4d`, `person:ana@example.com`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
    grants: tuple[Grant, ...]
    technical: bool = True

    def permits(self, permission: Permission, tenant: str | None, queue: str | None) -> bool:
        """Whether it may do something for a tenant and a queue; None stands for all of them."""
        if permission in TECHNICAL_ONLY and not self.technical:
            return False
        return any(permission in grant.permissions and grant.covers(tenant, queue) for grant in self.grants)

    def grants_for(self, permission: Permission) -> tuple[Grant, ...]:
        """The grants that permit something."""
        if permission in TECHNICAL_ONLY and not self.technical:
            return ()
        return tuple(grant for grant in self.grants if permission in grant.permissions)

    def queues_for(self, permission: Permission, tenant: str | None) -> frozenset[str] | None:
        """The queues within which it may do something for a tenant: None for all, empty for none."""
        if permission in TECHNICAL_ONLY and not self.technical:
            return frozenset()
        return _union(
            grant.queues for grant in self.grants if permission in grant.permissions and _within(tenant, grant.tenants)
        )

    def tenants_for(self, permission: Permission) -> frozenset[str] | None:
        """The tenants for which it may do something in some queue: None for all, empty for none."""
        if permission in TECHNICAL_ONLY and not self.technical:
            return frozenset()
        return _union(grant.tenants for grant in self.grants if permission in grant.permissions)

    def knows(self, tenant: str) -> bool:
        """Whether that tenant is any business of it: of others it must not learn whether they exist."""
        return any(_within(tenant, grant.tenants) for grant in self.grants)


def _union(sets: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    together: frozenset[str] = frozenset()
    for one in sets:
        if one is None:
            return None
        together |= one
    return together
