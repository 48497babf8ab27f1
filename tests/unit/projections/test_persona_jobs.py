"""The persona's list: the same rows, for jobs that are for somebody."""

from __future__ import annotations

from hypothesis import given as for_all
from hypothesis import settings

from jobledger.projections.persona_jobs import PERSONA_JOBS
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.support.given import dispatched, started
from tests.support.seen import as_seen, fold_all, fold_one, histories, moves


def test_a_job_of_a_persona_is_listed_like_any_other() -> None:
    """The row is the tenant list's."""
    row, listed = (fold_one(view, dispatched(), started()) for view in (PERSONA_JOBS, TENANT_JOBS))
    assert row is not None and listed is not None
    assert row == listed


def test_a_job_without_a_persona_is_not_in_it() -> None:
    """Events of a job for nobody have no key here."""
    assert fold_one(PERSONA_JOBS, dispatched().model_copy(update={"persona": None})) is None


@settings(max_examples=50, deadline=None)
@for_all(chosen=moves)
def test_it_holds_what_the_tenants_list_holds_of_personas(chosen: list[tuple[int, str, float]]) -> None:
    """Whatever happened, the two lists agree on the jobs of personas."""
    events = as_seen(histories(chosen))
    expected = {key: row for key, row in fold_all(TENANT_JOBS, events).items() if row["persona"] is not None}
    assert fold_all(PERSONA_JOBS, events) == expected
