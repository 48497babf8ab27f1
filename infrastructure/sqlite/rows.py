"""Rows of the queue as jobs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from jobledger.application.ports import OpenJob

from .. import mapper, queue_row
from .types import moment, optional_moment

OPEN_JOB_COLUMNS = 21
"""How many columns, from the first, make an `OpenJob`; statements may return more behind them."""

Row = tuple[Any, ...]
"""What sqlite3 returns; the tables are STRICT, so the types are those of the migrations."""


def open_job(row: Row) -> OpenJob:
    """The job in a row of the queue, its columns in the order of `queue_row.open_job`."""
    (
        job_id, tenant, version, status, queue, job_type, persona, priority, due_at, attempt, counted, allowed, stalls,
        worker, started_at, lock_key, limit_key, cancel_reason, spec, thread, payload,
    ) = row[:OPEN_JOB_COLUMNS]  # fmt: skip
    return queue_row.open_job(
        UUID(bytes=job_id), tenant, version, status, queue, job_type, persona, priority, moment(due_at), attempt,
        counted, allowed, stalls, worker, optional_moment(started_at), lock_key, limit_key, cancel_reason, spec,
        thread, mapper.decode_body(payload) or b"",
    )  # fmt: skip
