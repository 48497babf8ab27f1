"""Finds the job that somebody means: by its id, or by the last characters of it."""

from __future__ import annotations

from uuid import UUID

from jobledger.domain.errors import InvalidInput

from .job_repository import no_such_job
from .known import KnownTenants
from .ports import JobViews

_SHOWN = 5


class JobFinder:
    """Turns a reference into an id, within a tenant that exists."""

    def __init__(self, views: JobViews, tenants: KnownTenants) -> None:
        self._views = views
        self._tenants = tenants

    def find(self, tenant: str, reference: UUID | str) -> UUID:
        """The id. Raises `UnknownTenant`, `NotFound`, or `InvalidInput` that lists the jobs that could be meant."""
        self._tenants.require_known(tenant)
        if isinstance(reference, UUID):
            return reference
        found = self._views.find_by_short_id(tenant, reference.replace("-", "").lower())
        if not found:
            raise no_such_job(tenant, reference)
        if len(found) > 1:
            candidates = ", ".join(str(job_id) for job_id in found[:_SHOWN])
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise InvalidInput(
                f"{reference!r} may be {candidates}{more}",
                field="job",
                rule="names one job",
                hint="give more of the id",
            )
        return found[0]
