"""What the installation knows."""

from __future__ import annotations

from typing import Protocol

from ..writes import JobTypeRow, LimitRow, TenantRow


class Catalogue(Protocol):
    """What the installation knows: tenants and job types (inline projections of their streams)."""

    def tenant(self, name: str) -> TenantRow | None:
        """A tenant, or None."""
        ...

    def tenants(self) -> list[TenantRow]:
        """All tenants by name."""
        ...

    def job_type(self, name: str) -> JobTypeRow | None:
        """A job type, or None."""
        ...

    def job_types(self) -> list[JobTypeRow]:
        """All job types by name."""
        ...

    def limits(self) -> list[LimitRow]:
        """All targets that are limited or paused: by scope, tenant and subject."""
        ...
