"""API keys on every engine: made, rotated, revoked, listed; who has one is known."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any, TypeVar

import pytest
from structlog.testing import capture_logs

from jobledger.application.authentication import REMEMBER_SECONDS, ApiKeys
from jobledger.application.dispatcher import Dispatcher
from jobledger.application.key_messages import (
    CreateFirstKey,
    CreateKey,
    GetKey,
    IssuedKey,
    KeyView,
    ListKeys,
    RevokeKey,
    RotateKey,
)
from jobledger.application.key_ports import KeyUse
from jobledger.application.key_uses import STORE_SECONDS, KeyUses, KeyUseThread
from jobledger.application.keys import Keys
from jobledger.application.known import KnownTenants
from jobledger.application.message import Actor, Message
from jobledger.application.positions import Positions
from jobledger.domain.api_key import KeyStatus, key_stream
from jobledger.domain.errors import IllegalTransition, InvalidInput, NotFound, Refusal, Unauthenticated, UnknownTenant
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.identity import Grant, Permission, Role
from jobledger.infrastructure.system import RandomIdentifiers, SystemKeyMint

from ..support.use_cases import StillClock
from .support import LedgerUnderTest

R = TypeVar("R")
ADMIN = Actor(id="person:ana@example.com")
EMITTER = Grant(role=Role.EMITTER, tenants=frozenset({"acme"}), queues=frozenset({"mail"}))
WHY = "trying it out"


class KeysUnderTest:
    """The use cases about keys and the authenticator over a ledger, with a clock that stands still."""

    def __init__(self, ledger: LedgerUnderTest) -> None:
        self.ledger = ledger
        self.clock = StillClock()
        self.uses = KeyUses(ledger.keys, self.clock)
        self.authenticator = ApiKeys(ledger.reader, self.clock, self.uses)
        self._dispatcher = Dispatcher(self.clock, RandomIdentifiers())
        Keys(
            reader=ledger.reader, writer=ledger.writer, register=ledger.keys, mint=SystemKeyMint(),
            tenants=KnownTenants(ledger.catalogue, self.clock), positions=Positions(ledger.reader),
        ).register(self._dispatcher)  # fmt: skip

    def ask(self, message_type: type[Message[R]], /, **fields: object) -> R:
        """Carry out a message; a refusal is raised."""
        return self._dispatcher.send(message_type, actor=ADMIN, **{"reason": WHY, **fields}).unwrap()

    def look(self, message_type: type[Message[R]], /, **fields: object) -> R:
        """Answer a query."""
        return self._dispatcher.send(message_type, actor=ADMIN, **fields).unwrap()

    def create(self, **fields: Any) -> IssuedKey:  # noqa: ANN401
        """A key of a service."""
        return self.ask(CreateKey, **{"key_name": "mailer", "grants": (EMITTER,), **fields})

    def knows(self, issued: IssuedKey) -> bool:
        """Whether a credential proves something."""
        try:
            return self.authenticator.authenticate(issued.credential).id == f"key:{issued.key.key_id}"
        except Unauthenticated:
            return False


@pytest.fixture
def keys(ledger: LedgerUnderTest) -> KeysUnderTest:
    """Once per adapter."""
    ledger.create_tenant("acme")
    return KeysUnderTest(ledger)


# --- use cases -------------------------------------------------------------------------------------------------------


def test_a_key_is_made_with_a_stream_of_its_own(keys: KeysUnderTest) -> None:
    """The event says who made it and why; the secret stands in the answer and nowhere else."""
    expires_at = keys.clock.now() + timedelta(days=90)
    issued = keys.create(expires_at=expires_at)
    key_id, dot, secret = issued.credential.removeprefix("jl_").partition(".")
    assert (key_id, dot, len(secret)) == (issued.key.key_id, ".", 43)
    (event,) = keys.ledger.reader.stream(SYSTEM_TENANT, key_stream(key_id))
    assert (event.topic, event.metadata.actor) == ("api_key.created", ADMIN.id)
    assert secret not in f"{event}{issued!r}{keys.look(ListKeys)}"
    view = keys.look(GetKey, key_id=key_id)
    assert (view.key, view.created_by, view.last_use) == (issued.key, ADMIN.id, None)
    assert (view.key.name, view.key.grants, view.key.expires_at) == ("mailer", (EMITTER,), expires_at)
    assert view.created_at == event.recorded_at


def test_keys_are_listed_page_by_page(keys: KeysUnderTest) -> None:
    """Each once, in the order of their ids, revoked ones too."""
    made = sorted(keys.create(key_name=f"key {number}").key.key_id for number in range(5))
    keys.ask(RevokeKey, key_id=made[2])
    found: list[KeyView] = []
    after = ""
    while True:
        page = keys.look(ListKeys, limit=2, after_key=after)
        found += page.keys
        if page.next is None:
            break
        after = page.next
    assert [view.key.key_id for view in found] == made
    assert [view.key.status(keys.clock.now()) for view in found].index(KeyStatus.REVOKED) == 2


def test_what_is_not_there_is_not_found(keys: KeysUnderTest) -> None:
    """Neither by commands nor by queries."""
    with pytest.raises(NotFound):
        keys.look(GetKey, key_id="nokey12345")
    with pytest.raises(NotFound):
        keys.ask(RevokeKey, key_id="nokey12345")
    with pytest.raises(NotFound):
        keys.ask(RotateKey, key_id="nokey12345")


@pytest.mark.parametrize(
    ("fields", "refusal", "field"),
    [
        ({"grants": (Grant(role=Role.EMITTER, tenants=frozenset({"nobody"})),)}, UnknownTenant, "tenant"),
        ({"grants": ()}, InvalidInput, "grants"),
        ({"key_name": ""}, InvalidInput, "key_name"),
        ({"key_name": "a\x00b"}, InvalidInput, "key_name"),
        ({"grants": ({"role": "king"},)}, InvalidInput, "grants.0.role"),
        ({"grants": (Grant(role=Role.WORKER),), "technical": False}, InvalidInput, "grants.0.role"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(
    keys: KeysUnderTest, fields: dict[str, Any], refusal: type[Refusal], field: str
) -> None:
    """Nothing is recorded of it."""
    with pytest.raises(refusal) as refused:
        keys.create(**fields)
    assert refused.value.field == field
    assert keys.look(ListKeys).keys == ()


def test_two_who_rotate_at_once_both_do(keys: KeysUnderTest) -> None:
    """Each decides on what the other left: the last two secrets are good, the first is not."""
    first = keys.create()
    together = Barrier(2)

    def rotate() -> IssuedKey:
        together.wait()
        return keys.ask(RotateKey, key_id=first.key.key_id)

    with ThreadPoolExecutor(2) as pool:
        second, third = (future.result() for future in [pool.submit(rotate), pool.submit(rotate)])
    assert [keys.knows(issued) for issued in (first, second, third)] == [False, True, True]


# --- the first key ---------------------------------------------------------------------------------------------------


def test_the_first_key_is_made_once(keys: KeysUnderTest) -> None:
    """It is a person's, may do all that a person may, and does not come again once it was revoked."""
    issued = keys.ask(CreateFirstKey)
    assert issued is not None and issued.key.key_id == "admin"
    identity = keys.authenticator.authenticate(issued.credential)
    assert identity.permits(Permission.KEYS, None, None)
    assert not identity.permits(Permission.WORK, None, None)
    assert keys.ask(CreateFirstKey) is None
    keys.ask(RevokeKey, key_id="admin")
    assert keys.ask(CreateFirstKey) is None


def test_where_there_was_a_key_there_is_no_first_one(keys: KeysUnderTest) -> None:
    """Whoever made it has what it takes."""
    keys.ask(RevokeKey, key_id=keys.create().key.key_id)
    assert keys.ask(CreateFirstKey) is None


def test_of_many_that_start_at_once_one_makes_the_first_key(stored_ledger: LedgerUnderTest) -> None:
    """Two processes begin on an empty installation."""
    together = Barrier(4)
    with stored_ledger.open_again() as again:
        starting = [KeysUnderTest(each) for each in (stored_ledger, again) for _ in range(2)]

        def start(keys: KeysUnderTest) -> IssuedKey | None:
            together.wait()
            return keys.ask(CreateFirstKey)

        with ThreadPoolExecutor(4) as pool:
            (issued,) = [made for made in pool.map(start, starting) if made is not None]
        assert all(keys.knows(issued) for keys in starting)


# --- who asks --------------------------------------------------------------------------------------------------------


def test_who_has_the_secret_is_known(keys: KeysUnderTest) -> None:
    """As the key, with its grants."""
    issued = keys.create()
    identity = keys.authenticator.authenticate(issued.credential)
    assert identity == issued.key.identity
    assert identity.permits(Permission.DISPATCH, "acme", "mail")
    assert not identity.permits(Permission.DISPATCH, "other", "mail")


def test_whatever_is_wrong_the_answer_is_the_same(keys: KeysUnderTest) -> None:
    """Only the log tells the cases apart, without the credential."""
    revoked, expired, good = keys.create(), keys.create(expires_at=keys.clock.now() + timedelta(days=1)), keys.create()
    keys.ask(RevokeKey, key_id=revoked.key.key_id)
    keys.clock.advance(86_400)
    wrong = {
        "malformed key": f"{good.credential}=",
        "unknown key": f"jl_nokey12345.{good.credential.partition('.')[2]}",
        "wrong secret": f"jl_{good.key.key_id}.{expired.credential.partition('.')[2]}",
        "revoked key": revoked.credential,
        "expired secret": expired.credential,
    }
    answers = set()
    for why, credential in wrong.items():
        with capture_logs() as logs, pytest.raises(Unauthenticated) as refused:
            keys.authenticator.authenticate(credential)
        answers.add((str(refused.value), refused.value.field, refused.value.rule))
        (line,) = logs
        assert (line["event"], line["log_level"], line["why"]) == ("authentication.failed", "info", why)
        assert credential.partition(".")[2] not in json.dumps(line)
    assert len(answers) == 1
    assert keys.knows(good)


@pytest.mark.parametrize(
    "credential",
    ["", "jl_", "jl_.", "Bearer x", "jl_admin", "jl_ADMIN." + "a" * 43, "jl_admin." + "a" * 42, "jl_admin." + "a" * 44,
     "jl_admin." + "a" * 42 + "\n", "jl_admin." + "é" * 43, "jl_admin\x00." + "a" * 43, "jl_\ud800." + "a" * 43,
     "jl_٣٣٣٣." + "a" * 43, "a" * 10_000_000],
)  # fmt: skip
def test_whatever_is_sent_is_refused(keys: KeysUnderTest, credential: str) -> None:
    """Nothing that is no key makes any trouble."""
    with pytest.raises(Unauthenticated):
        keys.authenticator.authenticate(credential)


def test_both_secrets_of_a_rotated_key_are_good(keys: KeysUnderTest) -> None:
    """The first until the end that was set to it, the second from the start; a third one ends the first at once."""
    first = keys.create()
    second = keys.ask(RotateKey, key_id=first.key.key_id, previous_expires_at=keys.clock.now() + timedelta(minutes=10))
    assert keys.knows(first) and keys.knows(second)
    keys.clock.advance(600)
    assert (keys.knows(first), keys.knows(second)) == (False, True)
    third = keys.ask(RotateKey, key_id=first.key.key_id)
    fourth = keys.ask(RotateKey, key_id=first.key.key_id)
    keys.clock.advance(REMEMBER_SECONDS)
    assert [keys.knows(issued) for issued in (second, third, fourth)] == [False, True, True]


def test_a_revoked_key_proves_nothing_two_seconds_later(keys: KeysUnderTest) -> None:
    """Until then a process may believe what it read; a process that asks anew knows at once."""
    issued = keys.create()
    assert keys.knows(issued)
    keys.ask(RevokeKey, key_id=issued.key.key_id)
    assert not ApiKeysOf(keys).knows(issued)
    keys.clock.advance(REMEMBER_SECONDS)
    assert not keys.knows(issued)
    with pytest.raises(IllegalTransition):
        keys.ask(RotateKey, key_id=issued.key.key_id)


def test_who_was_just_here_is_known_at_once(keys: KeysUnderTest) -> None:
    """Without asking the ledger, as long as what was read is trusted; whatever is not good is looked into anew."""
    at_once, issued = keys.authenticator.at_once, keys.create(expires_at=keys.clock.now() + timedelta(seconds=1.5))
    other = keys.create()
    assert at_once(issued.credential) is None
    assert keys.knows(issued)
    assert at_once(issued.credential, address="192.0.2.9") == issued.key.identity
    keys.uses.store()
    assert last_use(keys, issued) == KeyUse(issued.key.key_id, keys.clock.now(), "192.0.2.9")
    assert at_once(f"jl_{issued.key.key_id}.{other.credential.partition('.')[2]}") is None
    assert at_once("nonsense") is None
    keys.clock.advance(1.5)
    assert at_once(issued.credential) is None, "expired"
    assert keys.knows(other) and at_once(other.credential) is not None
    keys.ask(RevokeKey, key_id=other.key.key_id)
    keys.clock.advance(REMEMBER_SECONDS)
    assert at_once(other.credential) is None
    assert not keys.knows(other)
    assert at_once(other.credential) is None, "revoked"


class ApiKeysOf(KeysUnderTest):
    """Another process on the same ledger."""

    def __init__(self, keys: KeysUnderTest) -> None:
        super().__init__(keys.ledger)


# --- when it was used ------------------------------------------------------------------------------------------------


def last_use(keys: KeysUnderTest, issued: IssuedKey) -> KeyUse | None:
    """As `keys list` tells."""
    return keys.look(GetKey, key_id=issued.key.key_id).last_use


def test_uses_are_stored_once_a_minute_for_each_key(keys: KeysUnderTest) -> None:
    """The first at once, then the last of each minute; of other keys nothing is kept back by it."""
    one, other = keys.create(), keys.create()
    keys.authenticator.authenticate(one.credential, address="192.0.2.7")
    assert last_use(keys, one) is None
    assert keys.uses.store() == 1
    began = keys.clock.now()
    assert last_use(keys, one) == KeyUse(one.key.key_id, began, "192.0.2.7")

    keys.clock.advance(STORE_SECONDS - 1)
    keys.authenticator.authenticate(one.credential, address="192.0.2.8")
    keys.authenticator.authenticate(other.credential)
    assert keys.uses.store() == 1
    assert last_use(keys, one) == KeyUse(one.key.key_id, began, "192.0.2.7")
    assert last_use(keys, other) == KeyUse(other.key.key_id, keys.clock.now(), None)

    keys.clock.advance(1)
    assert keys.uses.store() == 1
    assert keys.uses.store() == 0
    assert last_use(keys, one) == KeyUse(one.key.key_id, began + timedelta(seconds=59), "192.0.2.8")


def test_of_several_uses_the_latest_stays(keys: KeysUnderTest) -> None:
    """Whatever order processes store them in, and also within one call."""
    issued, now = keys.create(), keys.clock.now()
    early, late, later = (KeyUse(issued.key.key_id, now + timedelta(seconds=n), f"host {n}") for n in range(3))
    keys.ledger.keys.record_uses([late, early])
    assert last_use(keys, issued) == late
    keys.ledger.keys.record_uses([early])
    assert last_use(keys, issued) == late
    keys.ledger.keys.record_uses([later])
    keys.ledger.keys.record_uses([])
    assert last_use(keys, issued) == later


def test_a_failed_credential_is_no_use(keys: KeysUnderTest) -> None:
    """Only who was let in has used a key."""
    issued = keys.create()
    with pytest.raises(Unauthenticated):
        keys.authenticator.authenticate(f"jl_{issued.key.key_id}.{'a' * 43}")
    assert keys.uses.store() == 0


def test_closing_stores_what_is_left(keys: KeysUnderTest) -> None:
    """Nothing is lost at the end of a process that ends in order."""
    issued, thread = keys.create(), KeyUseThread(keys.uses)
    thread.start()
    keys.uses.store()
    keys.authenticator.authenticate(issued.credential)
    thread.close()
    assert last_use(keys, issued) is not None


def test_a_session_that_was_ended_stays_so_until_its_time(keys: KeysUnderTest) -> None:
    """Ended once or twice; what would be over by itself is forgotten."""
    register, now = keys.ledger.keys, keys.clock.now()
    until = now + timedelta(hours=12)
    for _ in range(2):
        register.end_session("a" * 64, until, now=now)
    assert (register.is_session_ended("a" * 64), register.is_session_ended("b" * 64)) == (True, False)
    register.end_session("b" * 64, until + timedelta(hours=12), now=until)
    assert register.is_session_ended("a" * 64)
    register.end_session("c" * 64, until + timedelta(hours=12), now=until + timedelta(seconds=1))
    assert [register.is_session_ended(one * 64) for one in "abc"] == [False, True, True]
