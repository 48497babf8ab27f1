"""Pages under every filter, on both engines: what the filter says, newest first, nothing twice and nothing left out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, Literal
from uuid import UUID

import pytest

from jobledger.application.ports import DlqRow, JobFilter, JobListRow, PageKey
from jobledger.domain import job as jobs
from jobledger.domain.dlq import DlqFilter
from jobledger.domain.job import AttemptError, JobStatus, Lease, Measured
from tests.support.given import NOW

from .support import LedgerUnderTest
from .views_support import ReadSide

TYPES = ("invoice.send", "report.make")
QUEUES = ("default", "mail", "reports")
JOBS = 24


@pytest.fixture
def read_side(read_side: ReadSide) -> ReadSide:
    """Jobs of two tenants, alike in some things and different in others; a few are completed, some are dead."""
    ledger = read_side.ledger
    for number in range(JOBS):
        _dispatch(read_side, number)
    for number, job in enumerate(ledger.claim(queues=QUEUES, limit=JOBS // 2).jobs):
        if number % 3 == 0:
            ledger.complete(job)
        elif number % 3 == 1:
            _bury(ledger, job, number)
    read_side.own.project()
    return read_side


def _dispatch(side: ReadSide, number: int) -> UUID:
    return side.ledger.dispatch(
        tenant="other" if number % 12 == 11 else "acme", persona="bot" if number % 2 else None,
        job_type=TYPES[number // 2 % 2], queue=QUEUES[number % 3], kind="ai" if number % 5 == 0 else "work",
    )  # fmt: skip


def _bury(ledger: LedgerUnderTest, job: Any, number: int) -> None:  # noqa: ANN401
    reason: Literal["unrecoverable", "integrity_violation"] = "unrecoverable" if number % 2 else "integrity_violation"
    error = AttemptError(f"E-{number % 2}", "it broke", f"f-{number % 4}", dlq_reason=reason)
    lease = Lease("w1", job.state.attempt)
    facts = jobs.fail(job.state, lease, error, now=NOW, jitter=0, measured=Measured())
    assert ledger.change(job, *facts, lease=lease).position is not None


def pages(read: Callable[[PageKey | None], Any], size: int) -> list[Any]:
    """All rows, page by page."""
    rows: list[Any] = []
    key: PageKey | None = None
    while True:
        page = read(key)
        assert len(page.rows) <= size
        rows += page.rows
        if page.next is None:
            return rows
        assert len(page.rows) == size
        key = page.next


def is_meant(row: JobListRow, where: JobFilter) -> bool:
    """Whether a filter of a list says this row."""
    asked = where._asdict()
    since, until = asked.pop("created_from"), asked.pop("created_to")
    return (
        all(value is None or getattr(row, name) == value for name, value in asked.items())
        and (since is None or row.created_at >= since)
        and (until is None or row.created_at < until)
    )


def is_dead_meant(row: DlqRow, where: DlqFilter) -> bool:
    """Whether a filter of the dead-letter queue says this row."""
    asked = where.model_dump(exclude={"dead_from", "dead_to"}, exclude_none=True)
    return all(getattr(row, name) == value for name, value in asked.items()) and (
        where.dead_to is None or row.dead_at < where.dead_to
    )


@pytest.mark.parametrize("persona", [None, "bot"], ids=["tenant", "persona"])
def test_every_filter_gives_its_jobs_page_by_page(read_side: ReadSide, persona: str | None) -> None:
    """As if all rows were read and those that the filter means were kept, in the order of the whole list."""
    views = read_side.own.views

    def read(where: JobFilter, size: int) -> list[JobListRow]:
        if persona is None:
            return pages(lambda key: views.tenant_jobs("acme", where, after=key, limit=size), size)
        return pages(lambda key: views.persona_jobs("acme", persona, where, after=key, limit=size), size)

    everything = read(JobFilter(), 5)
    assert everything == sorted(everything, key=lambda row: (row.created_at, row.job_id), reverse=True)
    assert {row.persona for row in everything} == ({"bot"} if persona else {"bot", None})
    assert len({row.status for row in everything}) > 2
    middle = everything[len(everything) // 2].created_at
    statuses = (None, JobStatus.PENDING, JobStatus.COMPLETED, JobStatus.DLQ, JobStatus.CANCELLED)
    for chosen in product(
        statuses, (None, True, False), (None, TYPES[1], "no.such"), (None, "ai", "system"),
        (None, "mail", "nowhere"), (None, middle), (None,),
    ):  # fmt: skip
        where = JobFilter(*chosen)
        assert read(where, 3) == [row for row in everything if is_meant(row, where)], where
    until = JobFilter(created_to=middle, failed=False)
    assert read(until, 3) == [row for row in everything if is_meant(row, until)]


def test_every_filter_gives_its_dead_page_by_page(read_side: ReadSide) -> None:
    """The same of the dead-letter queue, by the time of death."""
    views = read_side.own.views

    def read(where: DlqFilter) -> list[DlqRow]:
        return pages(lambda key: views.dlq("acme", where, after=key, limit=2), 2)

    everything = read(DlqFilter())
    assert len(everything) > 2
    assert everything == sorted(everything, key=lambda row: (row.dead_at, row.job_id), reverse=True)
    choices: dict[str, tuple[Any, ...]] = {
        "job_type": (None, TYPES[1], "no.such"), "kind": (None, "work"), "queue": (None, "mail"),
        "persona": (None, "bot"), "reason": (None, "unrecoverable", "stalled"), "error_type": (None, "E-0"),
        "fingerprint": (None, "f-1"), "dead_to": (None, everything[1].dead_at),
    }  # fmt: skip
    for chosen in product(*choices.values()):
        where = DlqFilter(**dict(zip(choices, chosen, strict=True)))
        assert read(where) == [row for row in everything if is_dead_meant(row, where)], where
