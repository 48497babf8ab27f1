"""The closed registry of topics: which class reads which stored event, and how older versions are brought up.

Topics are stored data. A topic that is not here is not imported from anywhere: it is `UnknownTopic`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import job, job_type
from .api_key import API_KEY_FACTS
from .audit import AUDIT_FACTS
from .dlq import DlqBulkBegun, DlqBulkEnded, DlqBulkProgressed
from .event import Facts
from .job import JOB_FACTS
from .job_type import JobTypeRegistered
from .limit import LIMIT_FACTS
from .projection import PROJECTION_FACTS
from .refusal import DispatchRefused
from .tenant import TenantCreated, TenantResumed, TenantSuspended

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

ALL_FACTS: tuple[type[Facts], ...] = (
    *JOB_FACTS, TenantCreated, TenantSuspended, TenantResumed, JobTypeRegistered, DispatchRefused,
    *LIMIT_FACTS, DlqBulkBegun, DlqBulkProgressed, DlqBulkEnded, *PROJECTION_FACTS, *AUDIT_FACTS, *API_KEY_FACTS,
)  # fmt: skip

TOPICS: Mapping[str, type[Facts]] = {facts.topic: facts for facts in ALL_FACTS}

UPCASTERS: Mapping[tuple[str, int], Upcaster] = {
    ("job_type.registered", 1): job_type.add_soft_timeout,
    ("job_type.registered", 2): job_type.add_limit_key,
    ("job.dispatched", 1): job.add_limit_key,
    ("job.requeued", 1): job.add_payload_changes,
}
"""From (topic, stored version) to the next version; applied until the class's own version is reached."""
