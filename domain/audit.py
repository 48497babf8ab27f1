"""Who looked at what: exports of history, and reads of bodies (payloads, results, logs, tracebacks).

Each has a stream of its own, in the tenant whose data was looked at, so that readers never wait for each other.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from .event import Facts
from .identifiers import stream_id

ExportFormat = Literal["jsonl", "cloudevents", "csv"]


class AuditQuery(BaseModel):
    """Which events are meant; None does not filter. Times bound `recorded_at` (from inclusive, to exclusive)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recorded_from: AwareDatetime | None = None
    recorded_to: AwareDatetime | None = None
    types: tuple[str, ...] = ()
    """Topics; one that ends in `.*` means all that begin so. Empty: all."""
    actor: str | None = None
    manual_only: bool = False


class AuditExportBegun(Facts):
    """Somebody began to export a tenant's history. Recorded before the first event is handed out."""

    topic: ClassVar[str] = "audit.export_begun"

    query: AuditQuery
    format: ExportFormat
    bodies: bool = False
    reason: str = ""


class AuditExported(Facts):
    """What was handed out: `sha256` is that of the bytes."""

    topic: ClassVar[str] = "audit.exported"

    events: Annotated[int, Field(ge=0)]
    first_position: int | None
    last_position: int | None
    sha256: str


class AccessRefused(Facts):
    """Somebody asked for what they may not have. `tenant_claimed` is what was asked for: it may not exist. `count` sums
    up refusals of one identity that asked for the same and lacked the same, where it was refused very often: actor and
    request are those of the last, the tenant is there where it was the same of all."""

    topic: ClassVar[str] = "access.refused"

    asked: str
    permission: str
    tenant_claimed: str
    count: Annotated[int, Field(ge=1)] = 1


class AccessAllowed(Facts):
    """Somebody was allowed what no other event tells of: they read the audit, or asked for a change that was none.
    `outcome` says why nothing changed (`version_conflict`, `not_found`, `duplicate` ...); it is empty where something
    was read. `tenant_claimed` and `count` are as in `access.refused`."""

    topic: ClassVar[str] = "access.allowed"

    asked: str
    permission: str
    tenant_claimed: str
    outcome: str = ""
    count: Annotated[int, Field(ge=1)] = 1


class BodiesRead(Facts):
    """Somebody looked at bodies of a job: those of these versions."""

    topic: ClassVar[str] = "audit.bodies_read"

    job_id: UUID
    versions: tuple[int, ...]


AUDIT_FACTS: tuple[type[Facts], ...] = (AuditExportBegun, AuditExported, BodiesRead, AccessRefused, AccessAllowed)


def audit_stream(tenant: str, act: str) -> UUID:
    """The stream of one act of reading; `act` is unique."""
    return stream_id(tenant, "audit", act)
