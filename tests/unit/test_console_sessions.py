"""Sessions of the console and links that log in once."""

from __future__ import annotations

from datetime import timedelta

from jobledger.application.authentication import ApiKeys
from jobledger.application.key_messages import CreateKey, RotateKey
from jobledger.application.key_uses import KeyUses
from jobledger.domain.identity import Grant, Role
from jobledger.infrastructure.console.sessions import LINK_SECONDS, SESSION_SECONDS, LoginLinks, Sessions
from tests.support.use_cases import StillClock, UseCases


def opened(cases: UseCases, signing_key: bytes = b"k" * 32) -> Sessions:
    """The sessions of a server on this ledger."""
    ports = cases.ledger.ports
    keys = ApiKeys(ports.reader, cases.clock, KeyUses(ports.keys, cases.clock))
    return Sessions(signing_key, keys, ports.reader, ports.keys, cases.clock)


def made_key(cases: UseCases) -> str:
    """The key of a person."""
    grants = (Grant(role=Role.AUDITOR),)
    issued = cases.ask(CreateKey, key_name="ana", grants=grants, technical=False, reason="a test")
    return issued.credential


def test_a_session_is_good_for_twelve_hours() -> None:
    """On every server that signs with the same key, and no longer."""
    cases = UseCases()
    cookie = opened(cases).begin(made_key(cases), None)
    other_server = opened(cases)
    session = other_server.find(cookie)
    assert session is not None
    assert (session.name, session.authenticated, session.identity.technical) == ("ana", True, False)
    cases.clock.advance(SESSION_SECONDS - 1)
    assert other_server.find(cookie) is not None
    cases.clock.advance(2)
    assert other_server.find(cookie) is None


def test_a_cookie_that_was_changed_is_none() -> None:
    """Nor is one that another installation signed, or no text of ours at all."""
    cases = UseCases()
    sessions = opened(cases)
    cookie = sessions.begin(made_key(cases), None)
    assert opened(cases, b"x" * 32).find(cookie) is None
    for changed in (cookie[:-2], f"A{cookie[1:]}", cookie + "AAAA", "", "é", "=" * 50, "A" * 5_000, None):
        assert sessions.find(changed) is None


def test_a_secret_that_expires_ends_its_sessions() -> None:
    """A session began with one secret of a key: another that is good does not keep it alive."""
    cases = UseCases()
    key = made_key(cases)
    cookie = opened(cases).begin(key, None)
    key_id = key.removeprefix("jl_").partition(".")[0]
    rotated = cases.ask(
        RotateKey, key_id=key_id, previous_expires_at=cases.clock.now() + timedelta(minutes=1), reason="yearly"
    )
    assert opened(cases).find(cookie) is not None
    cases.clock.advance(61)
    assert opened(cases).find(cookie) is None
    assert opened(cases).find(opened(cases).begin(rotated.credential, None)) is not None


def test_a_session_that_was_ended_is_none() -> None:
    """Whoever has kept its cookie, also on another server, or after a restart; other sessions of the key go on."""
    cases = UseCases()
    sessions, key = opened(cases), made_key(cases)
    cookie, other = sessions.begin(key, None), sessions.begin(key, None)
    sessions.end(cookie)
    sessions.end("nonsense")
    assert sessions.find(cookie) is None
    assert opened(cases).find(cookie) is None
    assert opened(cases).find(other) is not None


def test_the_session_of_a_link_is_of_one_server() -> None:
    """Another one of the installation does not take it; who it is was not proved, and is said so."""
    cases = UseCases()
    sessions = opened(cases)
    cookie = sessions.begin_as("os:ana@laptop")
    session = sessions.find(cookie)
    assert session is not None and not session.authenticated
    assert session.identity.id == "os:ana@laptop"
    assert opened(cases).find(cookie) is None


def test_a_link_is_good_once_and_for_ten_minutes() -> None:
    """Looking whether it is good does not use it up."""
    clock = StillClock()
    links = LoginLinks(clock.monotonic)
    first, second = links.make("ana"), links.make("ana")
    assert links.is_good(first) and links.is_good(first)
    assert (links.take(first), links.take(first)) == ("ana", None)
    clock.advance(LINK_SECONDS - 1)
    assert links.is_good(second)
    clock.advance(1)
    assert not links.is_good(second) and links.take(second) is None
    assert links.take("x") is None
