"""Where jobs are found by the end of their id."""

from __future__ import annotations

from jobledger.projections.job_short_ids import JOB_SHORT_IDS
from tests.support.given import dispatched
from tests.support.seen import JOB, fold_one


def test_a_dispatched_job_is_found_by_the_end_of_its_id() -> None:
    """One row, with nothing in it that ever changes."""
    assert fold_one(JOB_SHORT_IDS, dispatched()) == {"tenant_id": "acme", "short_id": JOB.hex[-8:], "job_id": JOB}


def test_nothing_else_that_happens_to_a_job_is_looked_at() -> None:
    """A row is written once."""
    assert JOB_SHORT_IDS.topics == JOB_SHORT_IDS.births == {"job.dispatched"}
    assert all(column.key for column in JOB_SHORT_IDS.columns)
