"""Rows of the ledger as projections see them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from jobledger.domain.errors import CorruptEvent, UnknownTopic
from jobledger.domain.event import Facts, Metadata
from jobledger.domain.job import JobFacts
from jobledger.domain.rate_card import Usage
from jobledger.infrastructure.mapper import decode_facts, encode_state
from jobledger.infrastructure.seen_events import LazyFacts, LedgerRow, read_cause, seen_batch
from tests.support.given import ABOUT, HISTORIES, NOW, completed, dispatched, failed, started
from tests.support.seen import JOB

METADATA = Metadata(correlation_id="c", trace_parent="00-1-2-01", actor="service:test", time=NOW)


def row(facts: Facts, position: int = 1) -> LedgerRow:
    return (JOB, 1, "acme", position, datetime.now(UTC), facts.topic, encode_state(METADATA, facts))


def batch_of(*rows: LedgerRow, limit: int = 100) -> tuple[list[Facts], int, bool]:
    batch = seen_batch(rows, LazyFacts(), after=0, limit=limit, readable_to=99)
    return [event.facts for event in batch.events], batch.position, batch.more


def test_facts_come_back_as_they_were() -> None:
    """Whatever the topic, looked at once or again, and when many events share them word for word."""
    history = [facts for histories in HISTORIES.values() for facts in histories]
    batch = seen_batch([row(facts) for facts in history * 2], LazyFacts(), after=0, limit=1_000, readable_to=99)
    assert [event.facts for event in batch.events] == history * 2
    assert [event.facts for event in reversed(batch.events)] == list(reversed(history * 2))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


MOMENTS = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@for_all(
    dispatches=st.lists(
        st.tuples(
            MOMENTS,
            st.one_of(st.none(), TEXT.filter(bool)),
            st.one_of(st.none(), TEXT, st.just('"due_at":"')),
            st.integers(0, 1),
            st.sampled_from([None, "a", '"idempotency_key":null']),
        ),
        max_size=8,
    )
)
def test_dispatches_of_which_much_is_shared_are_those_that_were_stored(
    dispatches: list[tuple[datetime, str | None, str | None, int, str | None]],
) -> None:
    """Any times and keys, beside any names, and whatever differs before and behind them: what is put together from
    shared facts is what decoding gives."""
    birth = dispatched()
    history = [
        birth.model_copy(
            update={
                "due_at": due_at, "idempotency_key": key, "persona": persona, "priority": priority,
                "lock_key": lock_key,
            }
        )
        for due_at, key, persona, priority, lock_key in dispatches
    ]  # fmt: skip
    states = [encode_state(METADATA, facts) for facts in history]
    reader = LazyFacts()
    for _ in range(2):
        for facts, state in zip(history, states, strict=True):
            known = reader.known(facts.topic, state)
            assert known is not None and known.known == decode_facts(facts.topic, state) == facts


@for_all(persona=st.one_of(st.none(), TEXT), job_type=TEXT)
def test_what_events_repeat_is_found_without_decoding(persona: str | None, job_type: str) -> None:
    """Any names, also such as look like JSON, in any event of a job."""
    reader = LazyFacts()
    for facts in (dispatched(), started(), completed()):
        named = facts.model_copy(update={"persona": persona, "job_type": job_type, "queue": ',"attempt":'})
        for _ in range(2):
            identity = reader.identity(facts.topic, encode_state(METADATA, named))
            assert identity == (job_type, ',"attempt":', persona)


NUMBER = st.floats(allow_nan=False, allow_infinity=False)
TRAP = ',"seconds_in_queue":1,"seconds_running":2,"usage":{},"estimated_cost":3,'


@for_all(numbers=st.tuples(NUMBER, NUMBER, NUMBER), message=st.one_of(TEXT, st.just(TRAP), st.just("x,")), unit=NUMBER)
def test_figures_are_found_without_decoding(numbers: tuple[float, float, float], message: str, unit: float) -> None:
    """Any numbers, whatever a message says and units are called, each time they are asked for."""
    reader = LazyFacts()
    in_queue, running, cost = numbers
    measured = {
        "seconds_in_queue": in_queue, "seconds_running": running, "estimated_cost": cost, "worker": message,
        "usage": Usage(units={"tokens": unit, "estimated_cost": unit, "seconds_running": unit}),
    }  # fmt: skip
    for facts in (
        completed().model_copy(update=measured),
        failed().model_copy(update={**measured, "message": message}),
    ):
        stored = encode_state(METADATA, facts)
        assert decode_facts(facts.topic, stored) == facts
        assert [reader.figures(facts.topic, stored) for _ in range(2)] == [numbers, numbers]


def test_figures_in_another_form_are_decoded() -> None:
    """An older program may have written them in another order; what is broken is said to be."""
    stored = b'{}\n{"job_type":"a","queue":"b","attempt":1,"worker":"w","seconds_running":2,"seconds_in_queue":1.5}'
    assert LazyFacts().figures("job.completed", stored) == (1.5, 2.0, 0.0)
    with pytest.raises(CorruptEvent):
        LazyFacts().figures("job.completed", stored[:-1])


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@for_all(correlation_id=ANY_TEXT, causation_id=st.one_of(st.none(), ANY_TEXT))
def test_a_cause_is_found_without_decoding(correlation_id: str, causation_id: str | None) -> None:
    """Whatever callers call their requests and messages, also what looks like JSON; with and without a body."""
    tricky = (correlation_id, f'{correlation_id}","trace_parent":"', f"{correlation_id}\\")
    for name in tricky:
        metadata = METADATA.model_copy(update={"correlation_id": name, "causation_id": causation_id})
        for body in (None, b"{}"):
            stored = encode_state(metadata, dispatched(), body)
            assert read_cause(stored) == (name, causation_id)
            (event,) = seen_batch([(*row(dispatched())[:6], stored)], LazyFacts(), after=0, limit=9, readable_to=9)[0]
            assert event.cause == (name, causation_id) and event.facts == dispatched()


def test_metadata_in_another_order_is_read_the_long_way() -> None:
    """What another program wrote is understood, too; what is no metadata is corrupt."""
    assert read_cause(b'{"actor":"a","causation_id":"m.1","correlation_id":"c"}\n{}') == ("c", "m.1")
    for broken in (b"", b"{}\n{}", b"[]\n", b'{"correlation_id":"c'):
        with pytest.raises(CorruptEvent):
            read_cause(broken)


def test_a_short_batch_has_read_to_the_end() -> None:
    """Fewer rows than asked for: all that could be read was read; a full batch ends at its last event."""
    rows = [row(dispatched(), 5), row(started(), 6)]
    assert batch_of(*rows, limit=3)[1:] == (99, False)
    assert batch_of(*rows, limit=2)[1:] == (6, True)


NEWER = {"topic": ("job.praised", b"\n{"), "version": ("job.completed", b'\n{"schema_version":9,')}


@pytest.mark.parametrize(("topic", "beginning"), NEWER.values(), ids=NEWER)
def test_reading_stops_in_front_of_what_is_newer(topic: str, beginning: bytes) -> None:
    """A topic or version that this program does not know ends the batch in front of it and is named."""
    newer = (*row(completed(), 7)[:5], topic, row(completed())[6].replace(b"\n{", beginning))
    batch = seen_batch([row(dispatched(), 5), newer, row(started(), 8)], LazyFacts(), after=4, limit=9, readable_to=99)
    assert [event.position for event in batch.events] == [5] and batch.position == 5 and not batch.more
    assert batch.unreadable is not None and batch.unreadable.position == 7
    assert type(batch.unreadable.error) is UnknownTopic
    alone = seen_batch([newer], LazyFacts(), after=4, limit=9, readable_to=99)
    assert alone.position == 4 and alone.unreadable is not None


@pytest.mark.parametrize("facts", [dispatched(), started()], ids=["job.dispatched", "job.started"])
def test_a_broken_event_is_found_by_whoever_looks(facts: JobFacts) -> None:
    """What cannot be read is corrupt for the fold that looks at it, not for the whole batch."""
    broken = (*row(facts)[:6], encode_state(METADATA, facts)[:-1])
    batch = seen_batch([broken], LazyFacts(), after=0, limit=9, readable_to=99)
    with pytest.raises(CorruptEvent):
        _ = batch.events[0].facts
    assert batch.events[0].persona == ABOUT["persona"]
