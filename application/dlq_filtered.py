"""Which dead jobs are meant: the fields that every query and command about many of them has."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from jobledger.domain.dlq import DlqFilter
from jobledger.domain.job import DlqReason, JobKind
from jobledger.domain.moment import Moment
from jobledger.domain.tenant import TenantName

from .message import NO_NUL

Wanted = Annotated[str, Field(pattern=NO_NUL, max_length=500)] | None
"""What a column must be equal to."""


class DlqFiltered(BaseModel):
    """Which dead jobs of a tenant; what is None does not filter. Times bound the moment of death (from inclusive, to
    exclusive)."""

    tenant: TenantName
    job_type: Wanted = None
    kind: JobKind | None = None
    queue: Wanted = None
    persona: Wanted = None
    dlq_reason: DlqReason | None = None
    error_type: Wanted = None
    fingerprint: Wanted = None
    dead_from: Moment | None = None
    dead_to: Moment | None = None

    @property
    def where(self) -> DlqFilter:
        """The filters as the read model takes them."""
        return DlqFilter(
            job_type=self.job_type, kind=self.kind, queue=self.queue, persona=self.persona, reason=self.dlq_reason,
            error_type=self.error_type, fingerprint=self.fingerprint, dead_from=self.dead_from, dead_to=self.dead_to,
        )  # fmt: skip
