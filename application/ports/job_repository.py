"""Jobs by id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from jobledger.domain.event import Event
from jobledger.domain.job import JobState, Lease

from ..writes import Outcome


class Job(NamedTuple):
    """A job as its stream tells it: always current. `payload_sha256` is that of the payload in force."""

    job_id: UUID
    tenant: str
    version: int
    state: JobState
    correlation_id: str
    trace_parent: str
    payload_sha256: str | None = None


class JobRepository(Protocol):
    """Jobs by id, from their streams (R0.2)."""

    def get(self, tenant: str, job_id: UUID) -> Job:
        """The job; `NotFound` where the tenant has none of that id."""
        ...

    def get_many(self, tenant: str, job_ids: Sequence[UUID]) -> dict[UUID, Job]:
        """Those jobs of the tenant that exist."""
        ...

    def save(
        self,
        events: Sequence[Event],
        expected_version: int | None,
        *,
        before: Job,
        lease: Lease | None = None,
        payload: bytes | None = None,
    ) -> Outcome:
        """Append what was decided about `before`, and change its row in the queue accordingly.

        Nothing is written (CONFLICT) unless the stream stands at `expected_version`; None where `lease` is the guard:
        that worker still holds that attempt, and nobody asked meanwhile to cancel. `payload` replaces the job's.
        """
        ...
