"""A row of `workers`, as both engines store it: what a worker reports of itself is JSON, in one column."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from jobledger.application.ports import WorkerHeartbeat, WorkerReport, WorkerRow

_REPORT = TypeAdapter(WorkerReport)


def encode_report(report: WorkerReport) -> str:
    """The column `report`."""
    return to_json(report._asdict(), inf_nan_mode="null").decode()


def decode_report(stored: str) -> WorkerReport:
    """What `encode_report` wrote, by this version or another: fields that are not known are left out, and a report
    that cannot be read says nothing. One worker's report must not hide the others."""
    try:
        members: dict[str, object] = from_json(stored)
        known = {name: value for name, value in members.items() if name in WorkerReport._fields}
        return _REPORT.validate_python(known)
    except (ValueError, AttributeError, ValidationError):
        return WorkerReport()


def worker_row(  # noqa: PLR0917 - a row is positional
    worker: str,
    code_version: str,
    queues: Iterable[str],
    concurrency: int,
    running: int,
    lease_seconds: float,
    report: str,
    started_at: datetime,
    last_seen_at: datetime,
    seconds_since_seen: float,
) -> WorkerRow:
    """The worker in a row; the arguments are its columns, in this order."""
    heartbeat = WorkerHeartbeat(
        worker, code_version, tuple(queues), concurrency, running, lease_seconds, decode_report(report)
    )
    return WorkerRow(heartbeat, started_at, last_seen_at, max(0.0, seconds_since_seen))
