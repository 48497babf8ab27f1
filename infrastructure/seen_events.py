"""Rows of the ledger as projections see them: facts are decoded when a fold looks at them, never metadata or a body."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from jobledger.domain.errors import CorruptEvent, UnknownTopic
from jobledger.domain.event import Facts
from jobledger.domain.job import JOB_FACTS, JobDispatched, JobStarted
from jobledger.domain.topics import TOPICS
from jobledger.domain.unreadable import why_unreadable
from jobledger.projections.ports import SeenBatch, Unreadable
from jobledger.projections.projection import Cause, Figures, JobIdentity, KnownFacts, SeenEvent

from .mapper import decode_facts, require_known

LedgerRow = tuple[UUID, int, str, int, datetime, str, bytes]
"""originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state."""

_VERSIONED = b'\n{"schema_version":'
_WRITTEN_NOW: Final = {topic: b"%b%d," % (_VERSIONED, facts.schema_version) for topic, facts in TOPICS.items()}
"""How events begin that this very version writes: most of them, and known without looking further."""
_REMEMBERED = 4_096
_LOOKS_BYTES = 64
"""Of a dispatch: enough to tell most types of jobs apart."""
_BEHIND_IDENTITY: Final = {facts.topic: b',"' + list(facts.model_fields)[3].encode() + b'":' for facts in JOB_FACTS}
"""Job events begin with type, queue and persona: what comes next, as it stands in JSON (never inside a string)."""
_SECONDS: Final = re.compile(rb',"seconds_in_queue":([^,]+),"seconds_running":([^,]+),"usage":')
_COST: Final = b',"estimated_cost":'
_CAUSE: Final = re.compile(
    rb'\{"correlation_id":"([^"\\]*)","trace_parent":"[^"\\]*"(?:,"causation_id":"([^"\\]*)")?,"actor":'
)
"""How metadata begins where nothing in it is escaped: nearly all there is."""


def read_cause(stored: bytes) -> Cause:
    """Because of what an event happened; `CorruptEvent` where its metadata cannot be read."""
    found = _CAUSE.match(stored)
    if found is not None:
        correlation_id, causation_id = found.groups()
        return Cause(correlation_id.decode(), None if causation_id is None else causation_id.decode())
    try:
        metadata = json.loads(stored[: stored.index(b"\n")])
        return Cause(str(metadata["correlation_id"]), metadata.get("causation_id"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptEvent(
            f"a stored event's metadata cannot be read: {why_unreadable(error)}", field="metadata"
        ) from None


_DUE_AT, _KEY = b'"due_at":"', b'"idempotency_key":'
"""Inside a JSON string a quote has a backslash before it, so these are found as names of members only."""


class _Shared(NamedTuple):
    """What dispatches say word for word alike: all but when a job is due, and under which key."""

    begin: bytes
    middle: bytes
    end: bytes


class _Dispatch(NamedTuple):
    """A stored dispatch, apart."""

    shared: _Shared
    due_at: bytes
    key: bytes | None


def _taken_apart(stored: bytes) -> _Dispatch | None:
    """A dispatch as this program writes it; None for another form, and for keys that JSON writes with escapes."""
    begin = stored.find(b"\n")
    due_at = stored.find(_DUE_AT, begin) + len(_DUE_AT)
    due_end = stored.find(b'"', due_at)
    key = stored.find(_KEY, due_end) + len(_KEY)
    if min(begin, due_at - len(_DUE_AT), due_end, key - len(_KEY)) < 0:
        return None
    alike = stored[begin:due_at], stored[due_end:key]
    if stored.startswith(b"null", key):
        return _Dispatch(_Shared(*alike, stored[key + 4 :]), stored[due_at:due_end], None)
    end = stored.find(b'"', key + 1)
    said = stored[key + 1 : end]
    if not stored.startswith(b'"', key) or end < 0 or b"\\" in said or not said.isascii():
        return None
    return _Dispatch(_Shared(*alike, stored[end + 1 :]), stored[due_at:due_end], said)


class _Alike(NamedTuple):
    """What the last dispatch that began like this shares with others, where it had no key."""

    begin: bytes
    due_at: int
    behind: bytes
    template: Facts


def _with_fields(template: Facts, **fields: object) -> Facts:
    """A copy with other values, which are known to be valid."""
    copied = object.__new__(type(template))
    object.__setattr__(copied, "__dict__", {**template.__dict__, **fields})
    object.__setattr__(copied, "__pydantic_fields_set__", template.__pydantic_fields_set__)
    object.__setattr__(copied, "__pydantic_extra__", None)
    object.__setattr__(copied, "__pydantic_private__", None)
    return copied


def _put_in(template: Facts, due_at: bytes, key: bytes | None, stored: bytes) -> Facts:
    try:
        return _with_fields(
            template,
            due_at=datetime.fromisoformat(due_at.decode()),
            idempotency_key=None if key is None else key.decode(),
        )
    except ValueError:  # no time as this program writes it
        return decode_facts(JobDispatched.topic, stored)


class _DecodedFacts(KnownFacts):
    """Facts at hand, in front of metadata that nobody may ask for."""

    __slots__ = ()

    def cause(self, stored: bytes) -> Cause:
        """Read when somebody asks."""
        return read_cause(stored)


class LazyFacts:
    """Decodes facts on demand. Remembers the event looked at last (several projections look at it in turn), and
    facts that many events share word for word."""

    def __init__(self) -> None:
        self._last: tuple[bytes, Facts | None] = (b"", None)
        self._started: dict[bytes, Facts] = {}
        self._dispatched: dict[_Shared, Facts] = {}
        self._alike: dict[bytes, _Alike] = {}
        self._last_figures: tuple[bytes, Figures] = (b"", Figures(0.0, 0.0, 0.0))
        self._identities: dict[bytes, JobIdentity] = {}

    def facts(self, topic: str, stored: bytes) -> Facts:
        """The facts of a stored event; `CorruptEvent` where they cannot be read."""
        last, facts = self._last
        if last is stored and facts is not None:
            return facts
        facts = self._shared(topic, stored) if topic == JobStarted.topic else decode_facts(topic, stored)
        self._last = (stored, facts)
        return facts

    def known(self, topic: str, stored: bytes) -> KnownFacts | None:
        """The facts of an event that every view looks at, decoded while the database is busy with the batch before."""
        if topic != JobDispatched.topic:
            return None
        try:
            return _DecodedFacts(self._dispatched_facts(stored))
        except CorruptEvent:
            return None  # said when somebody looks at it

    def _dispatched_facts(self, stored: bytes) -> Facts:
        """Dispatches of a type say the same but for two fields: what they share is decoded once, those are put in. A
        tenth of what decoding costs where no keys are used, a fifth with keys."""
        begin = stored.find(b"\n")
        alike = self._alike.get(stored[begin : begin + _LOOKS_BYTES])
        if alike is not None and stored.startswith(alike.begin, begin):
            due_at = begin + alike.due_at
            due_end = stored.find(b'"', due_at)
            if stored[due_end:] == alike.behind:
                return _put_in(alike.template, stored[due_at:due_end], None, stored)
        found = _taken_apart(stored)
        if found is None:
            return decode_facts(JobDispatched.topic, stored)
        template = self._dispatched.get(found.shared)
        if template is None:
            template = self._remember_dispatch(found.shared, stored)
        if found.key is None:
            shared = found.shared
            self._alike[stored[begin : begin + _LOOKS_BYTES]] = _Alike(
                shared.begin, len(shared.begin), b"".join((shared.middle, b"null", shared.end)), template
            )
        return _put_in(template, found.due_at, found.key, stored)

    def _remember_dispatch(self, shared: _Shared, stored: bytes) -> Facts:
        template = decode_facts(JobDispatched.topic, stored)
        if len(self._dispatched) >= _REMEMBERED:
            self._dispatched.clear()
            self._alike.clear()
        self._dispatched[shared] = template
        return template

    def identity(self, topic: str, stored: bytes) -> JobIdentity:
        """Type, queue and persona of a job's event. There are few together, so they are parsed once and looked up
        afterwards."""
        begin = stored.find(b"\n") + 1
        identity = stored[begin : stored.find(_BEHIND_IDENTITY[topic], begin)]
        try:
            return self._identities[identity]
        except KeyError:
            return self._remember_identity(identity, topic, stored)

    def figures(self, topic: str, stored: bytes) -> Figures:
        """What was measured of an attempt: three numbers, cut out of the event for a third of what decoding costs."""
        last, figures = self._last_figures
        if last is not stored:
            figures = _cut_out(stored) or KnownFacts(self.facts(topic, stored)).figures(topic, stored)
            self._last_figures = (stored, figures)
        return figures

    def cause(self, stored: bytes) -> Cause:
        """Because of what an event happened."""
        return read_cause(stored)

    def _shared(self, topic: str, stored: bytes) -> Facts:
        line = stored[stored.find(b"\n") :]
        facts = self._started.get(line)
        if facts is None:
            if len(self._started) >= _REMEMBERED:
                self._started.clear()
            facts = self._started[line] = decode_facts(topic, stored)
        return facts

    def _remember_identity(self, text: bytes, topic: str, stored: bytes) -> JobIdentity:
        try:
            parsed = json.loads(text + b"}")
            identity = JobIdentity(parsed["job_type"], parsed["queue"], parsed["persona"])
        except (ValueError, KeyError):  # another form than this program writes: the long way
            return KnownFacts(self.facts(topic, stored)).identity(topic, stored)
        if len(self._identities) >= _REMEMBERED:
            self._identities.clear()
        self._identities[text] = identity
        return identity


def _cut_out(stored: bytes) -> Figures | None:
    """The figures as this program writes them; None for another form."""
    seconds = _SECONDS.search(stored)
    cost_at = stored.rfind(_COST) + len(_COST)  # the last: the units in front of it have any names
    try:
        cost = float(stored[cost_at : stored.index(b",", cost_at)])
        return None if seconds is None else Figures(float(seconds[1]), float(seconds[2]), cost)
    except ValueError:
        return None


def _may_be_newer(topic: str, stored: bytes) -> bool:
    written_now = _WRITTEN_NOW.get(topic)
    if written_now is None:
        return True
    begin = stored.find(b"\n")
    return stored.startswith(_VERSIONED, begin) and not stored.startswith(written_now, begin)


def seen_batch(rows: Sequence[LedgerRow], reader: LazyFacts, *, after: int, limit: int, readable_to: int) -> SeenBatch:
    """The rows, in order, as a batch. Fewer rows than `limit` mean that all up to `readable_to` was read."""
    events: list[SeenEvent] = []
    for row in rows:
        if _may_be_newer(row[5], row[6]):
            try:
                require_known(row[5], row[6])
            except UnknownTopic as error:
                return SeenBatch(events, events[-1].position if events else after, unreadable=Unreadable(row[3], error))
        events.append(_seen(row, reader))
    if len(rows) < limit:
        return SeenBatch(events, max(after, readable_to))
    return SeenBatch(events, events[-1].position, more=True)


def seen_streams(rows: Sequence[LedgerRow], reader: LazyFacts) -> list[SeenEvent]:
    """The rows as events; `UnknownTopic` for one that is newer than this program."""
    events: list[SeenEvent] = []
    for row in rows:
        topic, stored = row[5], row[6]
        if _may_be_newer(topic, stored):
            require_known(topic, stored)
        facts = reader.known(topic, stored) if topic == JobDispatched.topic else None
        events.append(tuple.__new__(SeenEvent, (*row, facts or reader)))
    return events


def _seen(row: LedgerRow, reader: LazyFacts) -> SeenEvent:
    """The row as an event; made as `SeenEvent(...)` makes it, in half the time."""
    facts = reader.known(row[5], row[6]) if row[5] == JobDispatched.topic else None
    return tuple.__new__(SeenEvent, (*row, facts or reader))
