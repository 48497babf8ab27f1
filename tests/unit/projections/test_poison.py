"""Poison: an event that a fold cannot take is parked with those that follow for its key; all others go on."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest
import structlog
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from jobledger.domain.errors import CorruptEvent, UnknownTopic
from jobledger.domain.identifiers import uuid7
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.dlq import DLQ
from jobledger.projections.parking import PARKED_KEYS_MAX, FoldBroken, describe, without_events
from jobledger.projections.persona_jobs import PERSONA_JOBS
from jobledger.projections.ports import UNKNOWN_KEY
from jobledger.projections.projection import Projection, Row, SeenEvent
from jobledger.projections.retrying import Retrying
from jobledger.projections.runner import Observation, Runner, Stopped
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.support.given import completed, discarded, dispatched, failed, sent_to_dlq, started
from tests.support.poison import fold_around, poisoned
from tests.support.seen import (
    JOB,
    Cut,
    Cutting,
    MemorySource,
    MemoryStore,
    as_seen,
    fold_all,
    histories,
    moves,
    seen,
)

OTHER = uuid7(1_760_000_000_000, 2)
THIRD = uuid7(1_760_000_000_000, 3)
LIVES = [dispatched(), started(), failed(), sent_to_dlq()]
HISTORY = [
    seen(facts, version * 10 + number, job=job, version=version)
    for version, facts in enumerate(LIVES, start=1)
    for number, job in enumerate((JOB, OTHER, THIRD))
]


def run(store: MemoryStore, events: Sequence[SeenEvent], *projections: Projection, batch_size: int = 5) -> Runner:
    """Run these projections until they are current."""
    runner = Runner(store, MemorySource(events), projections, batch_size=batch_size)
    runner.run_until_current()
    runner.stop()
    return runner


def parked_of(store: MemoryStore, projection: Projection) -> dict[tuple[object, int], bool]:
    """What is parked of a projection, as `fold_around` tells it."""
    return {
        (one.key, one.position): one.error is not None
        for one in store.waiting.values()
        if one.projection == projection.name
    }


def assert_around(store: MemoryStore, projection: Projection, events: Sequence[SeenEvent]) -> None:
    """The view is what folding around the poison comes to, and all that is missing in it is parked."""
    expected = fold_around(projection, events)
    assert store.tables.get(projection.name, {}) == expected.rows
    assert parked_of(store, projection) == expected.parked


# --- parking ---------------------------------------------------------------------------------------------------------


def test_a_poisoned_event_holds_back_its_key_only() -> None:
    """It is parked with its error, later events of its job wait behind it; other jobs and other views go on."""
    bad = poisoned(PERSONA_JOBS, {(JOB, 2)})
    store = MemoryStore()
    runner = run(store, HISTORY, TENANT_JOBS, bad)
    assert runner.failures == {}
    assert_around(store, bad, HISTORY)
    assert store.tables["tenant_jobs"] == fold_all(TENANT_JOBS, HISTORY)
    assert [(one.originator_version, one.error, one.tenant) for one in store.parked("persona_jobs", limit=9)] == [
        (2, "Indigestible: version 2\ufffd", "acme"), (3, None, "acme"), (4, None, "acme"),
    ]  # fmt: skip
    assert {checkpoint.position for checkpoint in store.stored.values()} == {HISTORY[-1].position}


@settings(max_examples=150, deadline=None)
@for_all(chosen=moves, batch_size=st.integers(1, 20), data=st.data())
def test_whatever_is_poisoned_the_rest_is_right(
    chosen: list[tuple[int, str, float]], batch_size: int, data: st.DataObject
) -> None:
    """However events are cut into batches, and whichever are poisoned in whichever views, each view is the fold of
    all that nothing keeps it from, and the rest is parked."""
    events = as_seen(histories(chosen))
    some = st.sets(st.sampled_from([(e.originator_id, e.originator_version) for e in events] or [(JOB, 1)]))
    projections = [poisoned(projection, data.draw(some)) for projection in ALL_PROJECTIONS]
    store = MemoryStore()
    run(store, events, *projections, batch_size=batch_size)
    for projection in projections:
        assert_around(store, projection, events)


def test_an_event_that_begins_a_row_waits_too() -> None:
    """A job that dies again begins a new row in the list of dead jobs: not before what is parked of it is settled."""
    lives = [sent_to_dlq(), discarded(), sent_to_dlq()]
    events = [seen(facts, number, version=number) for number, facts in enumerate(lives, start=1)]
    bad = poisoned(DLQ, {(JOB, 2)})
    store = MemoryStore()
    run(store, events, bad, batch_size=1)
    assert_around(store, bad, events)
    assert store.tables["dlq_jobs"][JOB,]["dead_at"] == events[0].recorded_at


@pytest.mark.parametrize("tries", [1, 3, 5])
def test_an_event_is_tried_that_often(tries: int) -> None:
    """The whole batch is tried again, that many times, before the event is parked."""
    seen_by_fold: list[int] = []

    def fold(row: Row | None, event: SeenEvent) -> Row | None:
        if event.originator_version == 2:
            seen_by_fold.append(event.position)
            raise KeyError("persona")
        return TENANT_JOBS.fold(row, event)

    store = MemoryStore()
    runner = Runner(store, MemorySource(HISTORY[::3]), [TENANT_JOBS._replace(fold=fold)], park_after=tries)
    runner.run_until_current()
    assert len(seen_by_fold) == tries
    assert [one.error for one in store.parked(limit=9)] == ["KeyError: 'persona'", None, None]


def test_an_event_that_is_taken_in_the_end_is_not_parked() -> None:
    """What failed twice and then went well leaves nothing behind."""
    troubles = [MemoryError("no room"), MemoryError("no room")]

    def fold(row: Row | None, event: SeenEvent) -> Row | None:
        if event.originator_version == 2 and troubles:
            raise troubles.pop()
        return TENANT_JOBS.fold(row, event)

    store = MemoryStore()
    run(store, HISTORY, TENANT_JOBS._replace(fold=fold), batch_size=100)
    assert store.waiting == {}
    assert store.tables["tenant_jobs"] == fold_all(TENANT_JOBS, HISTORY)


def test_it_is_said_loudly_and_once() -> None:
    """One error in the log for each event that is parked, with all that is needed to find it; none for those that
    wait behind it."""
    with structlog.testing.capture_logs() as logs:
        run(MemoryStore(), HISTORY, poisoned(TENANT_JOBS, {(JOB, 2), (OTHER, 3)}), batch_size=3)
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert [(entry["event"], entry["event_id"]) for entry in errors] == [
        ("projection.event_parked", f"{JOB}.2"), ("projection.event_parked", f"{OTHER}.3"),
    ]  # fmt: skip
    assert errors[0]["projection"] == "tenant_jobs" and errors[0]["topic"] == "job.started"
    assert errors[0]["key"] == [str(JOB)] and errors[0]["error"].startswith("Indigestible: ")


def test_an_event_newer_than_the_program_is_never_parked() -> None:
    """A fold that meets a version it does not know stops its projection where it stands: a newer program goes on."""
    told: list[Observation] = []

    def fold(row: Row | None, event: SeenEvent) -> Row | None:
        if event.originator_version == 3:
            raise UnknownTopic("job.failed of version 9")
        return PERSONA_JOBS.fold(row, event)

    store = MemoryStore()
    newer = PERSONA_JOBS._replace(fold=fold)
    runner = Runner(store, MemorySource(HISTORY), [TENANT_JOBS, newer], batch_size=3, observe=told.append)
    runner.run_until_current()
    assert store.waiting == {}
    assert store.stored["persona_jobs"].position == HISTORY[5].position
    assert store.tables["tenant_jobs"] == fold_all(TENANT_JOBS, HISTORY)
    assert [observed.projection for observed in told if isinstance(observed, Stopped)] == ["persona_jobs"]


def test_a_fold_that_fails_for_everything_stops() -> None:
    """Beyond a thousand keys it is not the events that are wrong: the view stops where it stands, others go on."""
    jobs = [uuid7(1_760_000_000_000, number) for number in range(PARKED_KEYS_MAX + 200)]
    events = [seen(dispatched(), number, job=job) for number, job in enumerate(jobs, start=1)]
    bad = poisoned(TENANT_JOBS, {(job, 1) for job in jobs})
    store = MemoryStore()
    runner = run(store, events, bad, PERSONA_JOBS, batch_size=500)
    assert isinstance(runner.failures["tenant_jobs"], FoldBroken)
    assert len(store.waiting) == store.stored["tenant_jobs"].position == PARKED_KEYS_MAX
    assert store.stored["persona_jobs"].position == len(events)


def _keyless(event: SeenEvent) -> tuple[UUID] | None:
    if (event.originator_id, event.originator_version) == (JOB, 2):
        raise CorruptEvent("nobody can read this")
    return (event.originator_id,)


def test_an_event_without_a_key_holds_back_its_stream() -> None:
    """Where a view has a row a stream, the stream is known even if the key cannot be read."""
    store = MemoryStore()
    bad = TENANT_JOBS._replace(key=_keyless)
    run(store, HISTORY, bad, batch_size=4)
    rest = [event for event in HISTORY if event.originator_id != JOB or event.originator_version == 1]
    assert store.tables["tenant_jobs"] == fold_all(TENANT_JOBS, rest)
    assert [(one.key, one.originator_version, one.error) for one in store.parked(limit=9)] == [
        ((JOB,), 2, "CorruptEvent: nobody can read this"), ((JOB,), 3, None), ((JOB,), 4, None),
    ]  # fmt: skip


def test_an_event_without_a_key_is_parked_alone_where_rows_count_many_streams() -> None:
    """Nobody knows what should wait behind it; it is taken once its key can be read."""
    store = MemoryStore()
    run(store, HISTORY, TENANT_JOBS._replace(key=_keyless, by_stream=False, fold=_count), batch_size=4)
    (alone,) = store.parked(limit=9)
    assert (alone.key, alone.originator_version) == (UNKNOWN_KEY, 2)
    healed = TENANT_JOBS._replace(by_stream=False, fold=_count)
    assert Retrying(store, MemorySource(HISTORY), healed).retry_all()[:2] == (1, 0)
    assert store.waiting == {} and store.tables["tenant_jobs"] == fold_all(healed, HISTORY)


def _count(row: Row | None, event: SeenEvent) -> Row:
    counted = 0 if row is None else row["attempt"]
    assert isinstance(counted, int)
    return {"job_id": event.originator_id, "attempt": counted + 1}


# --- retrying and skipping -------------------------------------------------------------------------------------------


def test_a_corrected_fold_takes_what_was_parked() -> None:
    """In order, page after page, as if nothing had happened; the checkpoint stays as it is."""
    store = MemoryStore()
    run(store, HISTORY, poisoned(TENANT_JOBS, {(JOB, 2), (OTHER, 1)}))
    before = store.stored["tenant_jobs"]
    retried = Retrying(store, MemorySource(HISTORY), TENANT_JOBS, page_events=2).retry_all()
    assert (retried.taken, retried.skipped, retried.failed) == (7, 0, ())
    assert store.tables["tenant_jobs"] == fold_all(TENANT_JOBS, HISTORY)
    assert store.waiting == {} and store.stored["tenant_jobs"] == before


def test_what_fails_again_stays_with_its_new_error() -> None:
    """What came before it is taken, what waits behind it still waits."""
    store = MemoryStore()
    run(store, HISTORY, poisoned(TENANT_JOBS, {(JOB, 2)}))
    worse = poisoned(TENANT_JOBS, {(JOB, 3)})
    retried = Retrying(store, MemorySource(HISTORY), worse).retry((JOB,))
    assert (retried.taken, [one.originator_version for one in retried.failed]) == (1, [3])
    assert_around(store, worse, HISTORY)


def test_a_skipped_event_is_left_out_and_the_rest_follows() -> None:
    """The view is what the fold of all but that event comes to: what a rebuild makes of it, too."""
    store = MemoryStore()
    bad = poisoned(TENANT_JOBS, {(JOB, 2)})
    run(store, HISTORY, bad)
    retried = Retrying(store, MemorySource(HISTORY), bad, skipped=frozenset({(JOB, 2)})).retry((JOB,))
    assert (retried.taken, retried.skipped) == (2, 1)
    without = without_events(bad, frozenset({(JOB, 2)}))
    assert store.tables["tenant_jobs"] == fold_all(without, HISTORY) != fold_all(TENANT_JOBS, HISTORY)
    assert store.waiting == {}


def test_a_view_without_skipped_events_is_the_view_itself() -> None:
    """Where nothing was skipped there is nothing to look up."""
    assert without_events(TENANT_JOBS, frozenset()) is TENANT_JOBS


def test_retrying_what_is_not_parked_does_nothing() -> None:
    """Not even for a key that nobody knows."""
    store = MemoryStore()
    run(store, HISTORY, TENANT_JOBS)
    assert Retrying(store, MemorySource(HISTORY), TENANT_JOBS).retry((JOB,)) == (0, 0, ())
    assert store.tables["tenant_jobs"] == fold_all(TENANT_JOBS, HISTORY)


def test_an_event_that_left_the_ledger_stays_parked() -> None:
    """Its error says so; nothing behind it is folded without it unless it is skipped."""
    store = MemoryStore()
    run(store, HISTORY, poisoned(TENANT_JOBS, {(JOB, 2)}))
    left = [event for event in HISTORY if (event.originator_id, event.originator_version) != (JOB, 2)]
    (missing,) = Retrying(store, MemorySource(left), TENANT_JOBS).retry((JOB,)).failed
    assert missing.error is not None and "does not hold this event any more" in missing.error
    assert len(store.waiting) == 3


@settings(max_examples=150, deadline=None)
@for_all(
    chosen=moves,
    acts=st.lists(st.sampled_from(["run", "rival", "retry", "skip", "heal"]), max_size=25),
    batch_size=st.integers(1, 7),
    data=st.data(),
)
def test_in_whatever_order_things_happen(
    chosen: list[tuple[int, str, float]], acts: list[str], batch_size: int, data: st.DataObject
) -> None:
    """Runners, rivals, retries, skips and corrections in any order: in the end each view is the fold of everything but
    what was skipped, in order and once."""
    events = as_seen(histories(chosen))
    ids = [(event.originator_id, event.originator_version) for event in events]
    bad = set(data.draw(st.sets(st.sampled_from(ids or [(JOB, 1)]), max_size=5)))
    skipped = frozenset[tuple[UUID, int]]()
    projection = poisoned(TENANT_JOBS, bad)
    store, source = MemoryStore(), MemorySource(events)
    runners = {name: Runner(store, source, [projection], batch_size=batch_size) for name in ("run", "rival")}
    for act in acts:
        if act in runners:
            runners[act].run_once()
        elif act == "heal" and bad:
            bad.discard(data.draw(st.sampled_from(sorted(bad))))
        else:
            if act == "skip":
                failing = [(one.originator_id, one.originator_version) for one in store.parked(failed=True, limit=99)]
                ripe = [event for event in failing if event[1] > 1]  # without its birth no job has a row, ever
                skipped |= set(ripe[:1])
            Retrying(store, source, projection, skipped=skipped, page_events=2).retry_all()
    for runner in runners.values():
        runner.run_until_current()
        runner.stop()
    bad.clear()
    Retrying(store, source, projection, skipped=skipped, page_events=3).retry_all()
    assert store.waiting == {}
    assert store.tables.get("tenant_jobs", {}) == fold_all(without_events(TENANT_JOBS, skipped), events)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_call_nothing_is_lost(after: bool) -> None:
    """Killed before or after each call to the store, while parking as while retrying: whoever goes on comes to the
    same rows, and every event is either in the view or parked, once."""
    bad = poisoned(TENANT_JOBS, {(JOB, 2), (OTHER, 3)})
    at, died = 0, True
    while died:
        at, died, store = at + 1, False, MemoryStore()
        cutting = Cutting(store, at, after=after)
        runner = Runner(cutting, MemorySource(HISTORY), [bad], batch_size=4)
        try:
            runner.run_until_current()
            Retrying(cutting, MemorySource(HISTORY), TENANT_JOBS, page_events=2).retry((JOB,))
        except Cut:
            died = True
        runner.stop()
        run(store, HISTORY, bad, batch_size=4)
        Retrying(store, MemorySource(HISTORY), TENANT_JOBS, page_events=2).retry((JOB,))
        assert_around(store, poisoned(TENANT_JOBS, {(OTHER, 3)}), HISTORY)
    assert at > 40, "the store is called that often at least"


def test_an_error_is_kept_as_text_that_every_store_holds() -> None:
    """Bounded, without NUL and lone surrogates."""
    text = describe(ValueError("x" * 9_000 + "\x00\ud800"))
    assert len(text) == 2_000
    assert describe(ValueError("a\x00b\ud800")) == "ValueError: a\ufffdb?"


def test_an_error_of_pydantic_shows_no_input() -> None:
    """A fold that parses for itself does not bring stored facts into logs: field and rule are enough."""
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(dict[str, int]).validate_python({"a": "SECRET"})
    assert describe(refused.value) == "ValidationError: a breaks int_parsing"


def test_completing_after_a_parked_birth_waits() -> None:
    """A job whose very first event is poisoned has no row, and none comes of its later events."""
    events = [seen(facts, n, version=n) for n, facts in enumerate([dispatched(), started(), completed()], start=1)]
    store = MemoryStore()
    run(store, events, poisoned(TENANT_JOBS, {(JOB, 1)}), batch_size=2)
    assert store.tables["tenant_jobs"] == {} and len(store.waiting) == 3
