"""All projections by name. A name is also the name of the table that holds the rows."""

from __future__ import annotations

from .dlq import DLQ
from .job_short_ids import JOB_SHORT_IDS
from .job_traces import JOB_TRACES
from .persona_jobs import PERSONA_JOBS
from .projection import Projection, Registry
from .queue_statistics import QUEUE_STATISTICS
from .tenant_jobs import TENANT_JOBS
from .tenant_statistics import TENANT_STATISTICS

ALL_PROJECTIONS: tuple[Projection, ...] = (
    TENANT_JOBS, PERSONA_JOBS, DLQ, JOB_SHORT_IDS, JOB_TRACES, TENANT_STATISTICS, QUEUE_STATISTICS,
)  # fmt: skip

PROJECTIONS: Registry = {projection.name: projection for projection in ALL_PROJECTIONS}
