"""Jobs as they were: folding part of a stream comes to what the read models and the decisions saw at that moment."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from jobledger.application.past_jobs import list_row, matches, up_to
from jobledger.application.ports import JobFilter
from jobledger.application.reading import details_of
from jobledger.domain.event import Metadata, RecordedEvent
from jobledger.domain.job import JobState, JobStatus, evolve
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.support.given import NOW
from tests.support.seen import as_seen, fold_all, histories, moves

METADATA = Metadata(correlation_id="c", trace_parent=f"00-{'1' * 32}-{'2' * 16}-01", actor="a", time=NOW)


def streams(chosen: list[tuple[int, str, float]]) -> dict[UUID, list[RecordedEvent]]:
    """Random histories of several jobs, as a reader returns them."""
    found: dict[UUID, list[RecordedEvent]] = {}
    for event in as_seen(histories(chosen)):
        recorded = RecordedEvent(*event[:6], event.facts, METADATA)
        found.setdefault(event.originator_id, []).append(recorded)
    return found


@for_all(chosen=moves)
def test_a_line_as_of_any_version_is_what_the_list_showed_then(chosen: list[tuple[int, str, float]]) -> None:
    """The list's own fold over the same events comes to the same line."""
    seen_events = as_seen(histories(chosen))
    for job_id, events in streams(chosen).items():
        own = [event for event in seen_events if event.originator_id == job_id]
        for version in range(1, len(events) + 1):
            (listed,) = fold_all(TENANT_JOBS, own[:version]).values()
            shown = list_row(job_id, events[0].tenant, events[:version])._asdict()
            shown["tenant_id"] = shown.pop("tenant")
            assert shown == listed, version


@for_all(chosen=moves)
def test_folding_up_to_a_version_is_the_job_as_of_it(chosen: list[tuple[int, str, float]]) -> None:
    """State and version are those that the decisions after it saw."""
    for events in streams(chosen).values():
        state: JobState | None = None
        for event in events:
            state = evolve(state, event.facts)
            version = event.originator_version
            details = details_of(events[:version])
            assert (details.version, details.state, details.updated_at) == (version, state, event.recorded_at)


@for_all(chosen=moves, seconds=st.integers(0, 900))
def test_as_of_a_moment_is_as_of_the_last_version_recorded_until_then(
    chosen: list[tuple[int, str, float]], seconds: int
) -> None:
    """The moment itself counts; before the first event there is nothing."""
    for events in streams(chosen).values():
        moment = events[0].recorded_at + timedelta(seconds=seconds - 10)
        past = [event for event in events if event.recorded_at <= moment]
        assert list(up_to(events, moment)) == past


def three_events() -> tuple[UUID, list[RecordedEvent]]:
    """A job that was dispatched, started and completed, a second after each other."""
    ((job_id, events),) = streams([(0, "start", 0.0), (0, "start", 0.0), (0, "complete", 0.0)]).items()
    return job_id, [event._replace(recorded_at=NOW + timedelta(seconds=n)) for n, event in enumerate(events)]


def test_a_clock_that_was_set_back_leaves_no_hole() -> None:
    """An event that was recorded later ends the part, even where one behind it claims to be older."""
    _, events = three_events()
    back = [events[0], events[1]._replace(recorded_at=NOW + timedelta(hours=1)), events[2]]
    assert up_to(back, NOW + timedelta(minutes=1)) == back[:1]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (JobFilter(), True), (JobFilter(status=JobStatus.COMPLETED), True), (JobFilter(status=JobStatus.DLQ), False),
        (JobFilter(failed=False), True), (JobFilter(failed=True), False), (JobFilter(job_type="x"), False),
        (JobFilter(kind="ai"), False), (JobFilter(queue="x"), False), (JobFilter(created_from=NOW), True),
        (JobFilter(created_to=NOW), False), (JobFilter(created_from=datetime.max.replace(tzinfo=NOW.tzinfo)), False),
    ],
)  # fmt: skip
def test_filters_are_about_the_job_as_it_was(where: JobFilter, expected: bool) -> None:
    """Each field of the filter is looked at."""
    job_id, events = three_events()
    assert matches(list_row(job_id, "acme", events), where) is expected
