"""Sessions of the console and links that log in once."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import timedelta

import pytest

from jobledger.application.authentication import ApiKeys
from jobledger.application.key_messages import CreateKey, RotateKey
from jobledger.application.key_uses import KeyUses
from jobledger.domain.errors import InvalidInput, Unauthenticated
from jobledger.domain.identity import Grant, Identity, Role
from jobledger.infrastructure.console.sessions import LINK_SECONDS, SESSION_SECONDS, LoginLinks, Sessions
from jobledger.infrastructure.oidc_settings import DEFAULT_ALGORITHMS, OidcSettings, TechnicalMark
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


class Issued:
    """An authenticator that takes all tokens, and says who they are."""

    def __init__(self, *grants: Grant) -> None:
        self._identity = Identity(id="person:ana@example.com", grants=grants, technical=False)

    def authenticate(self, credential: str, *, address: str | None = None) -> Identity:
        """Whoever shows one."""
        return self._identity

    def at_once(self, credential: str, *, address: str | None = None) -> Identity | None:
        """Never."""
        return None


OPERATOR = Grant(role=Role.OPERATOR, tenants=frozenset({"acme", "other"}))
OIDC = OidcSettings(
    issuer="https://issuer.example", audience="jobledger", jwks_url=None, algorithms=DEFAULT_ALGORITHMS,
    leeway_seconds=60, identity_claim="sub", technical=TechnicalMark("gty", None), grants_claim="groups",
    grants={"ops": (OPERATOR,), "it": ()},
)  # fmt: skip


def of_issuer(cases: UseCases, *grants: Grant, oidc: OidcSettings = OIDC) -> Sessions:
    """The sessions of a server that takes tokens, which grant that."""
    ports = cases.ledger.ports
    return Sessions(b"k" * 32, Issued(*grants), ports.reader, ports.keys, cases.clock, oidc=oidc)


def token(cases: UseCases, *, seconds: float) -> str:
    """One that ends after so many seconds."""
    claims = json.dumps({"exp": cases.clock.now().timestamp() + seconds}).encode()
    return f"eyJ.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c2ln"


def test_a_session_of_a_token_ends_with_it() -> None:
    """It is of whom the token named, with what that granted, on every server; twelve hours at most."""
    cases = UseCases()
    cookie = of_issuer(cases, OPERATOR).begin(token(cases, seconds=600), None)
    long = of_issuer(cases, OPERATOR).begin(token(cases, seconds=7 * 86_400), None)
    session = of_issuer(cases).find(cookie)
    assert session is not None and session.authenticated
    assert (session.name, session.identity.id) == ("ana@example.com", "person:ana@example.com")
    assert session.identity.grants == (OPERATOR,) and not session.identity.technical
    assert opened(cases).find(cookie) is None, "that server takes no tokens"
    cases.clock.advance(599)
    assert of_issuer(cases).find(cookie) is not None
    cases.clock.advance(2)
    assert of_issuer(cases).find(cookie) is None
    cases.clock.advance(SESSION_SECONDS - 602)
    assert of_issuer(cases).find(long) is not None
    cases.clock.advance(2)
    assert of_issuer(cases).find(long) is None


def test_a_session_of_a_token_ends_when_what_tokens_grant_changes() -> None:
    """The cookie says what was granted under what was decided then. The same in another order is no change."""
    cases = UseCases()
    cookie = of_issuer(cases, OPERATOR).begin(token(cases, seconds=600), None)
    turned = OIDC._replace(grants=dict(reversed(list(OIDC.grants.items()))))
    assert of_issuer(cases, oidc=turned).find(cookie) is not None
    assert of_issuer(cases, oidc=OIDC._replace(grants={"ops": ()})).find(cookie) is None
    assert of_issuer(cases, oidc=OIDC._replace(audience="another")).find(cookie) is None


def test_a_session_of_a_token_can_be_ended() -> None:
    """On every server."""
    cases = UseCases()
    cookie = of_issuer(cases, OPERATOR).begin(token(cases, seconds=600), None)
    of_issuer(cases).end(cookie)
    assert of_issuer(cases).find(cookie) is None


def test_a_token_that_cannot_become_a_session_is_refused() -> None:
    """Only the leeway lets it in, or it grants more than a cookie holds."""
    cases = UseCases()
    with pytest.raises(Unauthenticated):
        of_issuer(cases, OPERATOR).begin(token(cases, seconds=-1), None)
    names = frozenset(hashlib.sha256(bytes([number])).hexdigest()[:60] for number in range(200))
    with pytest.raises(InvalidInput, match="grants too much"):
        of_issuer(cases, Grant(role=Role.OPERATOR, tenants=names)).begin(token(cases, seconds=600), None)


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
