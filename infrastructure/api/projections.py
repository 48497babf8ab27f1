"""Views (read models): how they stand, and how they are made anew."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from .jobs import Answer, Number, Reason, Request

Cores = Annotated[
    Number | None,
    Field(ge=0.01, le=1.0, description="Use about this much of one core; null: all that one thread can have."),
]
_REBUILD = "0199d5a2-7c10-4cc1-9f0e-3d2b1a0c9e8f"
_VIEW: JsonDict = {
    "projection": "tenant_jobs", "position": "5f0c.8192", "recorded_at": "2026-03-01T09:30:05.250000Z", "lag_events": 0,
    "lag_seconds": 0.0, "owner": "host-1:4711", "moved_at": "2026-03-01T09:30:05.250000Z", "fold_version": 3,
    "fold_version_of_program": 3, "parked": 0, "waiting_behind_parked": 0, "skipped": 0, "previous_kept": False,
    "previous_rows": None, "shadow_rows": None, "rebuild": None,
}  # fmt: skip


class VerifyRequest(Request):
    """Which rows are compared with the ledger: all, one tenant's, or one job's of that tenant."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"tenant": "acme", "cores": 0.25}]})

    tenant: Annotated[str | None, Field(min_length=1, max_length=63)] = None
    job_id: UUID | None = None
    cores: Cores = None
    reason: Reason = ""


class RebuildRequest(VerifyRequest):
    """Which rows are made anew, and why. With `dry_run` they are compared only, and that is recorded."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "INC-9: somebody edited a row", "cores": 0.25}]}
    )

    dry_run: bool = False


class Rebuild(Answer):
    """A rebuild (or a comparison) under way. `fraction` of the work of its `state` is done."""

    rebuild_id: UUID
    purpose: str
    state: str
    fraction: float
    events: int
    rows: int
    tenant: str | None
    job_id: UUID | None
    actor: str
    reason: str
    begun_at: datetime


class View(Answer):
    """How a view stands. `lag_events` is counted up to 10,000, null where that would have taken too long; numbers of
    rows are estimates on PostgreSQL."""

    projection: str
    position: str
    recorded_at: datetime | None
    lag_events: int | None
    lag_seconds: float | None
    owner: str | None
    moved_at: datetime | None
    fold_version: int | None
    fold_version_of_program: int
    parked: int
    waiting_behind_parked: int
    skipped: int
    previous_kept: bool
    previous_rows: int | None
    shadow_rows: int | None
    rebuild: Rebuild | None


class OtherRebuild(Rebuild):
    """A rebuild of a view that this program does not have."""

    projection: str


class Views(Answer):
    """All views. `head` is what can be read of the ledger, `horizon_age_seconds` for how long it could not be read to
    its end."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"head": "5f0c.8192", "horizon_age_seconds": 0.0, "views": [_VIEW], "others": []}]
        }
    )

    head: str
    horizon_age_seconds: float | None
    views: list[View]
    others: list[OtherRebuild]


class Cancelled(Answer):
    """A rebuild that was given up: the live view is as it was."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"projection": "tenant_jobs", "rebuild_id": _REBUILD, "state": "cancelled"}]
        }
    )  # fmt: skip

    projection: str
    rebuild_id: UUID
    state: str


class Dropped(Answer):
    """The version of a view that its last rebuild replaced is removed, with so many rows."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"projection": "tenant_jobs", "rows": 120000}]})

    projection: str
    rows: int
