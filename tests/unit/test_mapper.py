"""The stored form of events: what goes in comes out, and what is not ours is refused."""

from __future__ import annotations

import hashlib
import traceback
from datetime import UTC, datetime
from uuid import UUID

import pytest
from eventsourcing.persistence import StoredEvent

from jobledger.domain.errors import CorruptEvent, UnknownTopic
from jobledger.domain.event import Event, Metadata
from jobledger.domain.tenant import TenantCreated
from jobledger.infrastructure import mapper
from jobledger.infrastructure.seen_events import read_cause
from jobledger.infrastructure.stored_event import LedgerStoredEvent

METADATA = Metadata(
    correlation_id="c ✓", trace_parent="00-0-1-01", causation_id="x.1", actor="service:test",
    time=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
)  # fmt: skip
FACTS = TenantCreated(name="acme", display_name='Ünï "quoted"\nname')


@pytest.mark.parametrize("body", [b"", b"{}", bytes(range(256))], ids=["empty", "json", "binary"])
def test_a_body_is_told_by_the_metadata(body: bytes) -> None:
    """The state holds hash and length of a body, exactly as if the metadata had had them from the start."""
    told = METADATA.model_copy(update={"body_sha256": hashlib.sha256(body).hexdigest(), "body_length": len(body)})
    state = mapper.encode_state(METADATA, FACTS, body)
    assert state == mapper.encode_state(told, FACTS)
    assert mapper.decode_metadata(state) == told
    assert mapper.decode_facts("tenant.created", state) == FACTS


def test_no_body_is_no_word() -> None:
    """Without a body the metadata says nothing of one; what is None is left out."""
    state = mapper.encode_state(METADATA, FACTS)
    assert b"body" not in state and b"null" not in state
    assert mapper.decode_metadata(state) == METADATA


def test_bodies_are_tagged() -> None:
    """A stored body says how it is stored; one with another tag is not guessed at."""
    assert mapper.decode_body(mapper.encode_body(b"x")) == b"x"
    assert mapper.decode_body(None) is None
    with pytest.raises(CorruptEvent, match="tag"):
        mapper.decode_body(b"zx")


def test_an_event_comes_back_through_the_librarys_mapper() -> None:
    """Tenant, metadata, facts and body of an event survive the library's stored event."""
    event = Event(UUID(int=7), 3, "acme", METADATA, FACTS, b"body")
    stored = mapper.LedgerMapper().to_stored_event(event)
    found = mapper.LedgerMapper().to_domain_event(stored)
    assert (found.originator_id, found.originator_version, found.tenant, found.facts, found.body) == (
        event.originator_id, 3, "acme", FACTS, b"body",
    )  # fmt: skip
    assert found.metadata.actor == "service:test"


def test_what_is_not_ours_is_refused() -> None:
    """A stored event without a tenant, one with a topic of the future, one that is no JSON: each says what it is."""
    ours = mapper.LedgerMapper()
    with pytest.raises(CorruptEvent, match="tenant"):
        ours.to_domain_event(StoredEvent(UUID(int=1), 1, "tenant.created", b"{}\n{}"))
    state = mapper.encode_state(METADATA, FACTS)
    with pytest.raises(UnknownTopic, match="upgrade"):
        ours.to_domain_event(LedgerStoredEvent(UUID(int=1), 1, "tenant.abducted", state, "acme"))
    with pytest.raises(CorruptEvent):
        ours.to_domain_event(LedgerStoredEvent(UUID(int=1), 1, "tenant.created", b"?\n{}", "acme"))


@pytest.mark.parametrize(
    ("topic", "line", "said"),
    [
        ("tenant.created", b'{"name":7,"display_name":"SECRET"}', "name breaks string_type"),
        ("tenant.created", b'{"name":"acme","display_name":{"a":"SECRET"}}', "display_name breaks string_type"),
        ("tenant.created", b'{"name":"acme","SECRET \\u0041":1}', "(a key) breaks extra_forbidden"),
        ("tenant.created", b'{"name":"SECRET', "it breaks json_invalid"),
        ("job.dispatched", b'{"schema_version":1,"job_type":"SECRET', "no JSON: Unterminated string"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_not_repeated(topic: str, line: bytes, said: str) -> None:
    """Field and rule are named, no value: neither in the message nor in a cause that a log would show."""
    with pytest.raises(CorruptEvent) as refused:
        mapper.decode_facts(topic, b"{}\n" + line)
    assert said in str(refused.value)
    assert "SECRET" not in "".join(traceback.format_exception(refused.value))


def test_metadata_that_cannot_be_read_is_not_repeated() -> None:
    """Neither by who reads all of it nor by who looks for the cause only."""
    stored = b'{"correlation_id":"SECRET\n{}'
    for read in (mapper.decode_metadata, read_cause):
        with pytest.raises(CorruptEvent) as refused:
            read(stored)
        assert "SECRET" not in "".join(traceback.format_exception(refused.value))
