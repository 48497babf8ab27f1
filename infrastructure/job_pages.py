"""What the lists of both engines have in common: where a page begins and ends, short ids, waiting for a position."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar
from uuid import UUID

from jobledger.application.ports import (
    DlqError,
    DlqErrors,
    DlqGroup,
    DlqRow,
    DlqSummary,
    Freshness,
    JobFilter,
    JobListRow,
    PageKey,
    ViewName,
)
from jobledger.domain.dlq import DlqFilter
from jobledger.domain.identifiers import BIRTH_TOLERANCE, SHORT_ID_LENGTH, uuid7
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.progress import Progress

LIST_NAMES = tuple(projection.name for projection in ALL_PROJECTIONS)
"""Those that somebody may wait for."""

FOR_EVER = datetime(9999, 12, 31, tzinfo=UTC)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_ID = UUID(int=0)
_ID_LENGTH = 32

_FIRST_PAUSE_SECONDS = 0.001
_SHORT_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.002, 0.01
_SHORTLY_SECONDS = 0.03
"""For so long one asks often: mostly the lists are there by then."""

ListRow = TypeVar("ListRow", JobListRow, DlqRow)


class Bounds(NamedTuple):
    """The rows of a page lie before `before` (exclusive) and not before `since`; newest first."""

    before: PageKey
    since: datetime


def bounds(where: JobFilter, after: PageKey | None) -> Bounds:
    """A page continues after a row, within the time asked for."""
    return _bounds(where.created_from, where.created_to, after)


def dlq_bounds(where: DlqFilter, after: PageKey | None) -> Bounds:
    """The same for the time of death."""
    return _bounds(where.dead_from, where.dead_to, after)


def _bounds(since: datetime | None, until: datetime | None, after: PageKey | None) -> Bounds:
    end = PageKey(until or FOR_EVER, FIRST_ID)
    return Bounds(end if after is None else min(after, end), since or LONG_AGO)


def dlq_filters(where: DlqFilter) -> dict[str, str | None]:
    """The filters of a query of the dead-letter queue that are not times, by the names of its parameters."""
    return {
        "job_type": where.job_type, "kind": where.kind, "queue": where.queue, "persona": where.persona,
        "reason": where.reason, "error_type": where.error_type, "fingerprint": where.fingerprint,
    }  # fmt: skip


class DlqSummaryRow(NamedTuple):
    """A row of the query of a summary: a group, and what is the same in each row."""

    job_type: str
    reason: str
    error_type: str
    jobs: int
    all_jobs: int
    all_groups: int
    first_dead_at: datetime
    last_dead_at: datetime


def dlq_summary(rows: Sequence[DlqSummaryRow], freshness: Freshness) -> DlqSummary:
    """A summary from its rows."""
    if not rows:
        return DlqSummary(0, None, None, (), 0, freshness)
    first = rows[0]
    groups = tuple(DlqGroup(*row[:4]) for row in rows)
    return DlqSummary(first.all_jobs, first.first_dead_at, first.last_dead_at, groups, first.all_groups, freshness)


class DlqErrorRow(NamedTuple):
    """A row of the query of errors: an error, and what is the same in each row."""

    error: DlqError
    all_errors: int
    all_jobs: int


def dlq_errors(rows: Sequence[DlqErrorRow], freshness: Freshness) -> DlqErrors:
    """The errors from their rows."""
    if not rows:
        return DlqErrors((), 0, 0, freshness)
    return DlqErrors(tuple(row.error for row in rows), rows[0].all_errors, rows[0].all_jobs, freshness)


def short_id_digits(text: str) -> str | None:
    """The digits of a short id (the last 8 characters of a job's id, or more of them), or None for anything else."""
    digits = text.replace("-", "").lower()
    if SHORT_ID_LENGTH <= len(digits) <= _ID_LENGTH and all(digit in "0123456789abcdef" for digit in digits):
        return digits
    return None


def ending_in(digits: str, job_ids: Sequence[UUID]) -> list[UUID]:
    """Those ids that end in these digits."""
    return [job_id for job_id in job_ids if job_id.hex.endswith(digits)]


def first_unlisted_id(listed_to: datetime | None) -> UUID:
    """Jobs that a list which shows all recorded up to this moment may lack have ids from this one on."""
    if listed_to is None:
        return FIRST_ID
    born = listed_to - BIRTH_TOLERANCE - timedelta(seconds=1)
    return uuid7(int(born.timestamp() * 1000), 0)


def wait_for(
    position: int,
    timeout_seconds: float,
    lowest_position: Callable[[list[str]], int],
    progress: Progress | None,
    *,
    views: frozenset[ViewName],
    announce: Callable[[], None] | None = None,
) -> bool:
    """Wait until the lowest position of these views is that far: at once where this process runs the projections
    (`progress`), else by asking again and again, ever less often. False when time ran out. `announce` tells other
    processes, which may run them, that somebody waits."""
    names: list[str] = sorted(views)
    began_at = time.monotonic()
    pause = _FIRST_PAUSE_SECONDS
    ours = progress or Progress(LIST_NAMES)
    announce_after_seconds = _SHORTLY_SECONDS if ours.is_kept_here else 0.0
    while not ours.wait_for(position, 0, names) and lowest_position(names) < position:
        waited_seconds = time.monotonic() - began_at
        if waited_seconds >= timeout_seconds:
            return False
        if announce is not None and waited_seconds >= announce_after_seconds:
            announce()
            announce = None
        ours.wait_for(position, min(pause, timeout_seconds - waited_seconds), names)
        longest = _SHORT_PAUSE_SECONDS if waited_seconds < _SHORTLY_SECONDS else _LONGEST_PAUSE_SECONDS
        pause = min(pause * 1.5, longest)
    return True
