"""How an event is stored: the mapper between `domain.event` and rows of the ledger, on both engines.

`state` is two lines of JSON: the metadata, then the facts. Readers that only fold never parse the first one, and a
claim can build both in SQL from fragments. Canonical JSON holds no raw newline, so the first newline is the border.
Facts of a schema version above 1 begin with `{"schema_version":N,`.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Any
from uuid import UUID

from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent
from pydantic import ValidationError

from jobledger.domain.errors import CorruptEvent, UnknownTopic
from jobledger.domain.event import Event, Facts, Metadata, RecordedEvent
from jobledger.domain.topics import TOPICS, UPCASTERS
from jobledger.domain.unreadable import why_unreadable

from .stored_event import LedgerStoredEvent, in_ledger_form

PLAIN = b"p"
"""The tag in front of a body that is stored as it is (a sealed one will have another)."""

_VERSIONED = re.compile(rb'\{"schema_version":(\d+),')


def encode_state(metadata: Metadata, facts: Facts, body: bytes | None = None) -> bytes:
    """The stored state; with a body, its SHA-256 and length go into the metadata, as its last members."""
    line = encode_metadata(metadata)
    if body is not None:
        # what a copy of the metadata with both fields would give, for a tenth of the time
        line = b'%b,"body_sha256":"%b","body_length":%d}' % (line[:-1], _sha256_hex(body), len(body))
    return line + b"\n" + encode_facts(facts)


def _sha256_hex(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def encode_metadata(metadata: Metadata) -> bytes:
    """The first line: what is None is left out."""
    return Metadata.__pydantic_serializer__.to_json(metadata, exclude_none=True)


def encode_facts(facts: Facts) -> bytes:
    """The second line, in the order of the fields."""
    line = type(facts).__pydantic_serializer__.to_json(facts)
    version = type(facts).schema_version
    return line if version == 1 else b'{"schema_version":%d,' % version + line[1:]


def encode_body(body: bytes | None) -> bytes | None:
    """The body with the tag that says how it is stored."""
    return None if body is None else PLAIN + body


def decode_body(stored: bytes | None) -> bytes | None:
    """The body without its tag."""
    if stored is None:
        return None
    if stored[:1] != PLAIN:
        raise CorruptEvent(f"a body is tagged {stored[:1]!r}", field="body", rule="tag is 'p' (plain)")
    return stored[1:]


def decode_facts(topic: str, state: bytes) -> Facts:
    """The facts of a stored event, brought up to the version this program knows.

    `UnknownTopic` for a topic or version newer than the program, `CorruptEvent` for what cannot be read.
    """
    known = TOPICS.get(topic)
    if known is None:
        raise UnknownTopic(f"the ledger holds {topic!r} events, unknown to this version", field="topic", hint="upgrade")
    try:
        line = state[state.index(b"\n") + 1 :]
        if known.schema_version == 1 and not line.startswith(b'{"schema_version"'):
            facts: Facts = known.__pydantic_validator__.validate_json(line)
            return facts
        return _decode_versioned(known, line)
    except ValueError as error:  # what is no JSON, or does not fit; the cause would show what is stored
        raise CorruptEvent(f"a stored {topic} does not fit its topic: {why_unreadable(error)}", field=topic) from None


def require_known(topic: str, state: bytes) -> None:
    """Raise `UnknownTopic` for a topic or version newer than the program, without decoding the event."""
    known = TOPICS.get(topic)
    if known is None:
        raise UnknownTopic(f"the ledger holds {topic!r} events, unknown to this version", field="topic", hint="upgrade")
    match = _VERSIONED.match(state, state.find(b"\n") + 1)
    if match:
        _require_known_version(known, int(match[1]))


def _require_known_version(known: type[Facts], version: int) -> None:
    if version > known.schema_version:
        raise UnknownTopic(
            f"the ledger holds version {version} of {known.topic}, this program knows {known.schema_version}",
            field="schema_version", hint="upgrade jobledger",
        )  # fmt: skip


def _decode_versioned(known: type[Facts], line: bytes) -> Facts:
    match = _VERSIONED.match(line)
    version = int(match[1]) if match else 1
    _require_known_version(known, version)
    if version == known.schema_version and match:
        facts: Facts = known.__pydantic_validator__.validate_json(b"{" + line[match.end() :])
        return facts
    stored: dict[str, Any] = json.loads(line)
    stored.pop("schema_version", None)
    while version < known.schema_version:
        stored = UPCASTERS[(known.topic, version)](stored)
        version += 1
    return known.model_validate_json(json.dumps(stored))


def decode_metadata(state: bytes) -> Metadata:
    """Who, when and because of what."""
    try:
        metadata: Metadata = Metadata.__pydantic_validator__.validate_json(state[: state.index(b"\n")])
    except (ValidationError, ValueError) as error:
        raise CorruptEvent(
            f"a stored event's metadata cannot be read: {why_unreadable(error)}", field="metadata"
        ) from None
    return metadata


def leaf(  # noqa: PLR0917 - the columns of a row, in their order
    tenant: str, originator_id: UUID, originator_version: int, recorded_at_microseconds: int, topic: str, state: bytes
) -> bytes:
    """SHA-256 over the canonical stored form without the body; PostgreSQL computes the same in SQL."""
    head = f"{tenant}\n{originator_id}\n{originator_version}\n{recorded_at_microseconds}\n{topic}\n"
    return hashlib.sha256(head.encode() + state).digest()


def recorded_event(  # noqa: PLR0917 - the columns of a row, in their order
    originator_id: UUID,
    originator_version: int,
    tenant: str,
    position: int,
    recorded_at: datetime,
    topic: str,
    state: bytes,
    stored_body: bytes | None = None,
) -> RecordedEvent:
    """An event from a row of the ledger."""
    return RecordedEvent(
        originator_id, originator_version, tenant, position, recorded_at, topic,
        decode_facts(topic, state), decode_metadata(state), decode_body(stored_body),
    )  # fmt: skip


class LedgerMapper(Mapper[UUID]):
    """The library's mapper over our envelope and our closed registry of topics."""

    def __init__(self) -> None:
        super().__init__(transcoder=JSONTranscoder())

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> LedgerStoredEvent:
        """The stored form of an `Event`, with its tenant and its body."""
        if not isinstance(domain_event, Event):
            raise CorruptEvent(f"{type(domain_event).__name__} is not an Event", field="event")
        return LedgerStoredEvent(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=domain_event.facts.topic,
            state=encode_state(domain_event.metadata, domain_event.facts, domain_event.body),
            tenant=domain_event.tenant,
            body=encode_body(domain_event.body),
        )

    def to_domain_event(self, stored_event: StoredEvent) -> Event:
        """The `Event` of a stored one, brought up to the version that this program knows."""
        ours = in_ledger_form(stored_event)
        return Event(
            ours.originator_id if isinstance(ours.originator_id, UUID) else UUID(ours.originator_id),
            ours.originator_version, ours.tenant, decode_metadata(ours.state), decode_facts(ours.topic, ours.state),
            decode_body(ours.body),
        )  # fmt: skip
