"""All projections by name. A name is also the name of the table that holds the rows."""

from __future__ import annotations

from .dlq import DLQ
from .job_short_ids import JOB_SHORT_IDS
from .persona_jobs import PERSONA_JOBS
from .projection import Projection, Registry
from .tenant_jobs import TENANT_JOBS

ALL_PROJECTIONS: tuple[Projection, ...] = (TENANT_JOBS, PERSONA_JOBS, DLQ, JOB_SHORT_IDS)

PROJECTIONS: Registry = {projection.name: projection for projection in ALL_PROJECTIONS}
