"""API keys: make, rotate, revoke, list."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

from jobledger.domain import api_key as decisions
from jobledger.domain.api_key import ApiKey, evolve, key_stream
from jobledger.domain.errors import LedgerBusy, NotFound, VersionConflict
from jobledger.domain.event import Event, Facts, RecordedEvent
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.identity import Grant, Role

from .dispatcher import Dispatcher
from .flow import Flow
from .key_messages import CreateFirstKey, CreateKey, GetKey, IssuedKey, KeyPage, KeyView, ListKeys, RevokeKey, RotateKey
from .key_ports import KeyMint, KeyRegister, KeyUse
from .known import KnownTenants
from .ports import EventReader, LedgerWriter
from .positions import Positions
from .result import Accepted
from .writes import ApiKeyRow, AppendEvents, Outcome, WriteStatus

FIRST_KEY_ID = "admin"
"""No other key has it: ids that are made are longer."""
TRIES = 8
"""How often a decision is taken anew when the key changes between reading and saving, or an id is taken."""

Decide = Callable[[ApiKey], tuple[Facts, ...]]


class _Changed(NamedTuple):
    key: ApiKey
    first: RecordedEvent
    position: int | None


class Keys:
    """The handlers of the commands and queries about keys."""

    def __init__(
        self,
        *,
        reader: EventReader,
        writer: LedgerWriter,
        register: KeyRegister,
        mint: KeyMint,
        tenants: KnownTenants,
        positions: Positions,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._register = register
        self._mint = mint
        self._tenants = tenants
        self._positions = positions

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the messages of this module."""
        dispatcher.register(CreateKey, self.create)
        dispatcher.register(CreateFirstKey, self.create_first)
        dispatcher.register(RotateKey, self.rotate)
        dispatcher.register(RevokeKey, self.revoke)
        dispatcher.register(ListKeys, self.list_all)
        dispatcher.register(GetKey, self.get)

    # --- commands ----------------------------------------------------------------------------------------------------

    def create(self, command: CreateKey, flow: Flow) -> Accepted[IssuedKey]:
        """Make a key, with its first secret."""
        for tenant in sorted({tenant for grant in command.grants for tenant in grant.tenants or ()}):
            self._tenants.require_known(tenant)
        for _ in range(TRIES):
            issued, outcome = self._make(self._mint.key_id(), command, flow)
            if outcome.status is WriteStatus.WRITTEN:
                return Accepted(issued, self._positions.text(outcome.position))
            _raise_busy(outcome)
        raise VersionConflict("every id that was tried is taken", field="key_id", rule="is new", hint="try again")

    def create_first(self, command: CreateFirstKey, flow: Flow) -> Accepted[IssuedKey | None]:
        """Make the first key of all. Its id is always the same, so of two that try at once one makes it."""
        if self._register.key_ids(limit=1):
            return Accepted(None)
        wanted = CreateKey(
            actor=command.actor, key_name="first admin key", grants=(Grant(role=Role.ADMIN),), technical=False,
            reason=command.reason,
        )  # fmt: skip
        issued, outcome = self._make(FIRST_KEY_ID, wanted, flow)
        _raise_busy(outcome)
        if outcome.status is not WriteStatus.WRITTEN:
            return Accepted(None)
        return Accepted(issued, self._positions.text(outcome.position))

    def rotate(self, command: RotateKey, flow: Flow) -> Accepted[IssuedKey]:
        """One more secret for a key."""
        secret = self._mint.secret()
        changed = self._change(command.key_id, flow, lambda key: decisions.rotate(
            key, secret_sha256=secret_sha256(secret), expires_at=command.expires_at,
            previous_expires_at=command.previous_expires_at, reason=command.reason, now=flow.time,
        ))  # fmt: skip
        issued = IssuedKey(changed.key, credential_text(command.key_id, secret))
        return Accepted(issued, self._positions.text(changed.position))

    def revoke(self, command: RevokeKey, flow: Flow) -> Accepted[KeyView]:
        """End a key."""
        changed = self._change(command.key_id, flow, lambda key: decisions.revoke(key, reason=command.reason))
        view = _view(changed.key, changed.first, self._register.uses([command.key_id]))
        return Accepted(view, self._positions.text(changed.position))

    def _make(self, key_id: str, command: CreateKey, flow: Flow) -> tuple[IssuedKey, Outcome]:
        secret = self._mint.secret()
        facts = decisions.create(
            key_id=key_id, name=command.key_name, secret_sha256=secret_sha256(secret), grants=command.grants,
            technical=command.technical, expires_at=command.expires_at, reason=command.reason, now=flow.time,
        )  # fmt: skip
        key = reduce(_evolved, facts, None)
        assert key is not None
        outcome = self._write(key_id, 0, facts, flow)
        return IssuedKey(key, credential_text(key_id, secret)), outcome

    def _change(self, key_id: str, flow: Flow, decide: Decide) -> _Changed:
        """Decide and save, anew where somebody else changed the key meanwhile."""
        outcome = Outcome(WriteStatus.CONFLICT)
        for _ in range(TRIES):
            stored = self._stored(key_id)
            key = _folded(stored)
            facts = decide(key)
            outcome = self._write(key_id, len(stored), facts, flow)
            if outcome.status is WriteStatus.WRITTEN:
                return _Changed(reduce(evolve, facts, key), stored[0], outcome.position)
        _raise_busy(outcome)
        raise VersionConflict(f"key {key_id} kept changing", field="key_id", rule="holds still", hint="try again")

    def _write(self, key_id: str, version: int, facts: tuple[Facts, ...], flow: Flow) -> Outcome:
        metadata = flow.metadata()
        events = tuple(
            Event(key_stream(key_id), number, SYSTEM_TENANT, metadata, each)
            for number, each in enumerate(facts, start=version + 1)
        )
        return self._writer.write([AppendEvents(events, ApiKeyRow(key_id))])[0]

    # --- queries -----------------------------------------------------------------------------------------------------

    def list_all(self, query: ListKeys, flow: Flow) -> Accepted[KeyPage]:
        """A page of keys."""
        ids = self._register.key_ids(after=query.after_key, limit=query.limit + 1)
        shown = ids[: query.limit]
        streams = self._reader.streams(SYSTEM_TENANT, [key_stream(key_id) for key_id in shown])
        uses = self._register.uses(shown)
        views = (_view_of(streams[key_stream(key_id)], uses) for key_id in shown if key_stream(key_id) in streams)
        return Accepted(KeyPage(tuple(views), shown[-1] if len(ids) > query.limit else None))

    def get(self, query: GetKey, flow: Flow) -> Accepted[KeyView]:
        """One key."""
        return Accepted(_view_of(self._stored(query.key_id), self._register.uses([query.key_id])))

    def _stored(self, key_id: str) -> list[RecordedEvent]:
        stored = self._reader.stream(SYSTEM_TENANT, key_stream(key_id))
        if not stored:
            raise NotFound(f"there is no key {key_id}", field="key_id", hint="jobledger keys list shows them")
        return stored


def credential_text(key_id: str, secret: str) -> str:
    """What its holder sends."""
    return f"jl_{key_id}.{secret}"


def secret_sha256(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _raise_busy(outcome: Outcome) -> None:
    if outcome.status is WriteStatus.BUSY:
        raise LedgerBusy("the keys are held by another transaction", hint="try again")


def _evolved(state: ApiKey | None, facts: Facts) -> ApiKey | None:
    return evolve(state, facts)


def _folded(stored: Sequence[RecordedEvent]) -> ApiKey:
    key = reduce(_evolved, (event.facts for event in stored), None)
    assert key is not None
    return key


def _view_of(stored: Sequence[RecordedEvent], uses: dict[str, KeyUse]) -> KeyView:
    return _view(_folded(stored), stored[0], uses)


def _view(key: ApiKey, first: RecordedEvent, uses: dict[str, KeyUse]) -> KeyView:
    return KeyView(key, first.recorded_at, first.metadata.actor, uses.get(key.key_id))
