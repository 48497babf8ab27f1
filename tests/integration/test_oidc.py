"""Tokens of a real issuer: who is let in, as whom, and who is not."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwk, jws
from structlog.testing import capture_logs

from jobledger.application.authentication import Authenticators
from jobledger.domain.errors import IssuerUnavailable, JobledgerError, Unauthenticated
from jobledger.domain.identity import Grant, Identity, Permission, Role
from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.http.issuer_keys import (
    FIRST_RETRY_SECONDS,
    KEEP_SECONDS,
    RETRY_SECONDS,
    IssuerKeys,
)
from jobledger.infrastructure.http.oidc import OidcTokens
from jobledger.infrastructure.identities import ensure_admin_key, open_authenticator
from jobledger.infrastructure.oidc_settings import DEFAULT_ALGORITHMS, OidcSettings, TechnicalMark
from jobledger.infrastructure.settings import load
from tests.support.issuer import DISCOVERY, KEYS, Issuer, ec_key, ed_key, issuer, rsa_key, signed
from tests.support.use_cases import START, StillClock

NOW = int(START.timestamp())
OPERATOR = Grant(role=Role.OPERATOR, tenants=frozenset({"acme"}), extra=frozenset({Permission.REQUEUE}))
ADMIN = Grant(role=Role.ADMIN)


class Tokens:
    """An issuer, and what takes its tokens."""

    def __init__(self, running: Issuer, **chosen: object) -> None:
        self.issuer = running
        self.clock = StillClock()
        wanted = OidcSettings(
            issuer=running.url, audience="jobledger", jwks_url=None, algorithms=DEFAULT_ALGORITHMS, leeway_seconds=60,
            identity_claim="sub", technical=TechnicalMark("gty", "client-credentials"), grants_claim="groups",
            grants={"ops": (OPERATOR,), "it": (ADMIN,)},
        )  # fmt: skip
        self.settings = wanted._replace(**chosen)  # type: ignore[arg-type]
        self.keys = IssuerKeys(self.settings, self.clock)
        self._tokens = OidcTokens(self.settings, self.keys, self.clock)

    def claims(self, **said: object) -> dict[str, Any]:
        """What a good token says; None leaves a claim out."""
        claims = {
            "iss": self.issuer.url, "aud": "jobledger", "sub": "ana", "exp": NOW + 300, "iat": NOW, "groups": ["ops"],
            **said,
        }  # fmt: skip
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, **said: object) -> str:
        """A good token, but for what is said."""
        return signed(self.claims(**said), rsa_key())

    def who(self, token: str) -> Identity:
        """Whom it proves."""
        return self._tokens.authenticate(token, address="192.0.2.7")

    def why_not(self, token: str) -> str:
        """Why it proves nothing, as the log says; the answer is always the same, and no token is logged."""
        with capture_logs() as logs, pytest.raises(Unauthenticated) as refused:
            self.who(token)
        assert str(refused.value).startswith("nothing proves who asks")
        (line,) = [line for line in logs if line["event"] == "authentication.failed"]
        assert line["log_level"] == "info"
        assert len(token) < 20 or token not in json.dumps(line)
        return f"{line['why']} {line.get('claim', '')}".strip()


@pytest.fixture
def tokens() -> Iterator[Tokens]:
    """With the settings of most tests."""
    with issuer() as running:
        taking = Tokens(running)
        yield taking
        taking.keys.close()


# --- who it is -------------------------------------------------------------------------------------------------------


def test_a_person_may_what_the_groups_grant(tokens: Tokens) -> None:
    """Values of the claim that no setting names grant nothing; a person never runs jobs."""
    identity = tokens.who(tokens.token(groups=["ops", "staff"]))
    assert identity == Identity(id="person:ana", grants=(OPERATOR,), technical=False)
    assert tokens.who(tokens.token(groups=["it", "ops"])).grants == (OPERATOR, ADMIN)
    assert tokens.who(tokens.token(groups=["staff"])).grants == ()
    for strange in (None, 7, {"ops": True}, [["ops"], 7, None], "", "ops it"):
        assert tokens.who(tokens.token(groups=strange)).grants == ()


def test_a_service_is_marked_by_a_claim(tokens: Tokens) -> None:
    """By its value here; a claim alone can be enough."""
    service = tokens.who(tokens.token(gty="client-credentials", sub="mailer"))
    assert (service.id, service.technical) == ("service:mailer", True)
    assert not tokens.who(tokens.token(gty="password")).technical
    marked = Tokens(tokens.issuer, technical=TechnicalMark("client_id", None))
    assert marked.who(marked.token(client_id="mailer")).technical
    assert not marked.who(marked.token()).technical
    unmarked = Tokens(tokens.issuer, technical=None)
    assert not unmarked.who(unmarked.token(gty="client-credentials")).technical


def test_grants_are_found_inside_of_objects_and_in_scopes(tokens: Tokens) -> None:
    """As Keycloak and OAuth write them; a claim whose name has dots is found, too."""
    nested = Tokens(tokens.issuer, grants_claim="realm_access.roles")
    assert nested.who(nested.token(realm_access={"roles": ["ops"]})).grants == (OPERATOR,)
    assert nested.who(nested.token(realm_access=["roles"])).grants == ()
    dotted = Tokens(tokens.issuer, grants_claim="https://example.com/roles")
    assert dotted.who(dotted.token(**{"https://example.com/roles": "ops"})).grants == (OPERATOR,)
    scopes = Tokens(tokens.issuer, grants_claim="scope")
    assert scopes.who(scopes.token(scope="openid ops")).grants == (OPERATOR,)


def test_another_claim_can_name_the_person(tokens: Tokens) -> None:
    """An address that its issuer did not verify names nobody."""
    by_mail = Tokens(tokens.issuer, identity_claim="email")
    assert by_mail.who(by_mail.token(email="ana@example.com")).id == "person:ana@example.com"
    assert by_mail.why_not(by_mail.token(email="ana@example.com", email_verified=False)).endswith("email")
    assert by_mail.why_not(by_mail.token()) == "nobody named by the token email"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_the_usual_algorithms_are_taken(tokens: Tokens, algorithm: str) -> None:
    """Each with a key of its kind, among others."""
    keys = {"RS256": rsa_key(), "ES256": ec_key(), "EdDSA": ed_key()}
    tokens.issuer.publish(*keys.values())
    assert tokens.who(signed(tokens.claims(), keys[algorithm], algorithm)).id == "person:ana"
    assert tokens.who(signed(tokens.claims(aud=["other", "jobledger"]), keys[algorithm], algorithm)).id == "person:ana"


def test_a_token_without_a_key_id_needs_the_only_key_that_fits(tokens: Tokens) -> None:
    """With two of a kind nothing is tried out."""
    key = ec_key()
    tokens.issuer.publish(rsa_key(), key)
    assert tokens.who(signed(tokens.claims(), key, "ES256", kid=False)).id == "person:ana"
    tokens.issuer.publish(rsa_key(), key, ec_key(kid="ec-2"))
    tokens.clock.advance(KEEP_SECONDS)
    again = tokens.claims(exp=NOW + 2 * KEEP_SECONDS)
    assert tokens.why_not(signed(again, key, "ES256", kid=False)) == "unknown key of the issuer"


# --- who it is not ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"iss": "https://evil.example"}, "claim of the token iss"),
        ({"iss": None}, "missing claim of the token iss"),
        ({"iss": ["x"]}, "claim of the token iss"),
        ({"aud": "other"}, "claim of the token aud"),
        ({"aud": ["other"]}, "claim of the token aud"),
        ({"aud": []}, "claim of the token aud"),
        ({"aud": {"jobledger": 1}}, "claim of the token aud"),
        ({"aud": None}, "missing claim of the token aud"),
        ({"exp": None}, "missing claim of the token exp"),
        ({"exp": "tomorrow"}, "claim of the token exp"),
        ({"exp": True}, "claim of the token exp"),
        ({"exp": float("nan")}, "claim of the token exp"),
        ({"exp": NOW - 60}, "expired token"),
        ({"exp": -(10**400)}, "expired token"),
        ({"nbf": NOW + 61}, "claim of the token nbf"),
        ({"nbf": "now"}, "claim of the token nbf"),
        ({"iat": NOW + 61}, "claim of the token iat"),
        ({"sub": None}, "missing claim of the token sub"),
        ({"sub": ""}, "claim of the token sub"),
        ({"sub": " "}, "nobody named by the token sub"),
        ({"sub": ["ana"]}, "claim of the token sub"),
        ({"sub": "a" * 250}, "nobody named by the token sub"),
        ({"sub": "a\x00b"}, "nobody named by the token sub"),
        ({"sub": "\ud800"}, "nobody named by the token sub"),
    ],
)
def test_a_token_says_what_it_has_to(tokens: Tokens, said: dict[str, Any], why: str) -> None:
    """Issuer, audience, end and subject, each as it should be."""
    assert tokens.why_not(signed_json(tokens.claims(**said))) == why


def signed_json(claims: dict[str, Any]) -> str:
    """A token of whatever JSON can say."""
    payload = json.dumps(claims).encode()
    return jws.serialize_compact({"alg": "RS256", "kid": rsa_key().kid}, payload, rsa_key(), ["RS256"])


def test_clocks_may_differ_by_the_leeway(tokens: Tokens) -> None:
    """A minute before it begins, and a minute after it ends, a token is taken; no longer."""
    for said in ({"exp": NOW - 59}, {"nbf": NOW + 60}, {"iat": NOW + 60}):
        assert tokens.who(tokens.token(**said)).id == "person:ana"
    exact = Tokens(tokens.issuer, leeway_seconds=0)
    assert exact.why_not(exact.token(exp=NOW)) == "expired token"
    assert exact.why_not(exact.token(nbf=NOW + 1)) == "claim of the token nbf"


def part(said: object) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=").decode()


def unsigned(**header: object) -> str:
    """A token that nobody signed."""
    return f"{part(header)}.{part({})}.AA"


def test_who_signs_is_never_the_senders_choice(tokens: Tokens) -> None:
    """No `none`, no secret made of the public key, no key that comes along, no algorithm beside those that are set."""
    claims, public = part(tokens.claims()), rsa_key().as_pem(private=False)
    for none in ("none", "None", "NONE", "nOnE"):
        assert tokens.why_not(f"{part({'alg': none})}.{claims}.") == "malformed token"
        assert tokens.why_not(f"{part({'alg': none, 'kid': 'rsa-1'})}.{claims}.AA") == "algorithm of the token"
    for secret in (public, public.strip(), rsa_key().as_der(private=False)):
        said = f"{part({'alg': 'HS256', 'kid': 'rsa-1'})}.{claims}"
        code = base64.urlsafe_b64encode(hmac.digest(secret, said.encode(), "sha256")).decode().rstrip("=")
        assert tokens.why_not(f"{said}.{code}") == "algorithm of the token"
    mine = rsa_key(9)
    with_key = signed(tokens.claims(), mine, kid=False, jwk=mine.as_dict(private=False))
    assert tokens.why_not(with_key) == "signature of the token"
    elsewhere = signed(tokens.claims(), mine, kid=False, jku="https://evil.example/keys")
    assert tokens.why_not(elsewhere) == "signature of the token"
    as_theirs = mine.as_dict(private=True, kid="rsa-1")
    assert tokens.why_not(signed(tokens.claims(), jwk.import_key(as_theirs))) == "signature of the token"
    assert tokens.why_not(signed(tokens.claims(), rsa_key(), "RS512")) == "algorithm of the token"
    assert tokens.why_not(signed(tokens.claims(), rsa_key(), "PS256")) == "algorithm of the token"


def test_a_secret_among_the_keys_verifies_nothing(tokens: Tokens) -> None:
    """An issuer that publishes symmetric, encrypting or weak keys gets none of them used."""
    secret = jwk.OctKey.generate_key(256, {"kid": "oct-1"})
    weak, encrypting = rsa_key(2, bits=1_024), rsa_key(3)
    listed = [
        {**secret.as_dict(private=True)}, {**weak.as_dict(private=False)},
        {**encrypting.as_dict(private=False), "use": "enc"}, {**rsa_key(4).as_dict(private=False), "alg": "PS256"},
        {**rsa_key(5).as_dict(private=False), "key_ops": ["encrypt"]}, {"kty": "RSA"}, {"kty": "FUTURE"}, 7, None,
        rsa_key().as_dict(private=False),
    ]  # fmt: skip
    tokens.issuer.say(KEYS, {"keys": listed})
    for key in (weak, encrypting, rsa_key(4), rsa_key(5)):
        assert tokens.why_not(signed(tokens.claims(), key)) == "unknown key of the issuer"
    assert tokens.why_not(signed(tokens.claims(), secret, "HS256")) == "algorithm of the token"
    assert tokens.who(tokens.token()).id == "person:ana"


@pytest.mark.parametrize(
    "credential",
    ["", ".", "..", "a.b.c", "a.b", "aaaa.bbbb.cccc.dddd.eeee", "é.é.é", "\x00", "ey" * 20_000, "e" * 50_000_000,
     f"{part([])}.{part({})}.AA", unsigned(alg=7), unsigned(alg=["RS256"]), unsigned(alg="RS256", kid=7),
     unsigned(alg="RS256", kid="rsa-1"), unsigned(alg="RS256", kid="\ud800" * 40),
     unsigned(alg="RS256", kid="rsa-1", crit=["x"], x=1), unsigned(alg="RS256", kid="rsa-1", b64=False, crit=["b64"]),
     base64.urlsafe_b64encode(b"[" * 3_000).decode().rstrip("=") + ".AA.AA",
     base64.urlsafe_b64encode(b'{"alg":"RS256","kid":' + b"[" * 2_900).decode().rstrip("=") + ".AA.AA"],
)  # fmt: skip
def test_whatever_is_sent_is_refused(tokens: Tokens, credential: str) -> None:
    """Huge, nested, cut or strange: the same answer."""
    tokens.why_not(credential)


def test_a_signed_token_that_is_too_long_is_refused(tokens: Tokens) -> None:
    """Before anything of it is looked at: the issuer is not even asked."""
    assert tokens.why_not(tokens.token(note="a" * 20_000)) == "malformed token"
    assert tokens.issuer.requests == {}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.integers(0, 10_000), put=st.text("abcXYZ019-_.=+/ \x00é", min_size=0, max_size=2), cut=st.integers(0, 2)
)
def test_a_token_that_was_changed_anywhere_is_refused(tokens: Tokens, place: int, put: str, cut: int) -> None:
    """Whatever is put in or taken out, wherever."""
    token = tokens.token()
    place %= len(token)
    changed = token[:place] + put + token[place + cut :]
    if changed.rstrip("=") != token:
        with pytest.raises(Unauthenticated):
            tokens.who(changed)


# --- the issuer's keys -----------------------------------------------------------------------------------------------


def test_keys_are_asked_for_once(tokens: Tokens) -> None:
    """For ten minutes; then again."""
    for _ in range(5):
        tokens.who(tokens.token())
    assert tokens.issuer.requests == {DISCOVERY: 1, KEYS: 1}
    tokens.clock.advance(KEEP_SECONDS - 1)
    tokens.who(tokens.token(exp=NOW + 3_600))
    assert tokens.issuer.requests[KEYS] == 1
    tokens.clock.advance(1)
    tokens.who(tokens.token(exp=NOW + 3_600))
    assert tokens.issuer.requests[KEYS] == 2


def test_a_new_key_is_found_when_it_is_met(tokens: Tokens) -> None:
    """The issuer rotates: tokens of the new key are taken at once, those of a key that is gone no longer."""
    tokens.who(tokens.token())
    tokens.clock.advance(RETRY_SECONDS)
    tokens.issuer.publish(rsa_key(2))
    assert tokens.who(signed(tokens.claims(), rsa_key(2))).id == "person:ana"
    assert tokens.why_not(tokens.token()) == "unknown key of the issuer"


def test_unknown_keys_do_not_make_us_a_weapon(tokens: Tokens) -> None:
    """Whoever sends made-up key ids has the issuer asked once in thirty seconds at most."""
    tokens.who(tokens.token())
    for number in range(20):
        forged = (
            signed(tokens.claims(), rsa_key(2), kid=False) if number % 2 else signed(tokens.claims(), ec_key(), "ES256")
        )
        tokens.why_not(forged)
    assert tokens.issuer.requests[KEYS] == 1
    tokens.clock.advance(RETRY_SECONDS)
    for _ in range(5):
        tokens.why_not(signed(tokens.claims(), rsa_key(2)))
    assert tokens.issuer.requests[KEYS] == 2


def test_keys_can_be_somewhere_else(tokens: Tokens) -> None:
    """Where a setting says so nothing is discovered."""
    elsewhere = Tokens(tokens.issuer, jwks_url=f"{tokens.issuer.url}{KEYS}")
    assert elsewhere.who(elsewhere.token()).id == "person:ana"
    assert tokens.issuer.requests == {KEYS: 1}


def breakages() -> dict[str, Callable[[Issuer], None]]:
    """Ways in which an issuer is of no use."""
    return {
        "an error": lambda issuer: issuer.say(KEYS, {}, status=500),
        "a redirect": lambda issuer: issuer.say_raw(KEYS, b"", status=302),
        "no JSON": lambda issuer: issuer.say_raw(KEYS, b"<html>"),
        "nested JSON": lambda issuer: issuer.say_raw(KEYS, b"[" * 100_000),
        "no text": lambda issuer: issuer.say_raw(KEYS, b"\xff\xfe\x00"),
        "a list": lambda issuer: issuer.say(KEYS, []),
        "no keys": lambda issuer: issuer.say(KEYS, {"keys": []}),
        "no list of keys": lambda issuer: issuer.say(KEYS, {"keys": {"kid": 1}}),
        "too much": lambda issuer: issuer.say_raw(KEYS, b" " * 2_000_000 + b"{}"),
        "a discovery of another issuer": lambda issuer: issuer.say(
            DISCOVERY, {"issuer": "https://evil.example", "jwks_uri": f"{issuer.url}{KEYS}"}
        ),
        "keys without encryption": lambda issuer: issuer.say(
            DISCOVERY, {"issuer": issuer.url, "jwks_uri": "http://192.0.2.1/keys"}
        ),
        "keys in a file": lambda issuer: issuer.say(
            DISCOVERY, {"issuer": issuer.url, "jwks_uri": "file:///etc/passwd"}
        ),
        "keys nowhere": lambda issuer: issuer.say(DISCOVERY, {"issuer": issuer.url, "jwks_uri": 7}),
    }


@pytest.mark.parametrize("breakage", breakages())
def test_an_issuer_that_breaks_keeps_its_known_keys(tokens: Tokens, breakage: str) -> None:
    """Who has no key yet says that it cannot be found out, and asks again soon."""
    tokens.who(tokens.token())
    breakages()[breakage](tokens.issuer)
    tokens.clock.advance(KEEP_SECONDS)
    lasting = {"exp": NOW + 3_600}
    with capture_logs() as logs:
        assert tokens.who(tokens.token(**lasting)).id == "person:ana"
    assert [line["event"] for line in logs] == ["oidc.keys_not_read"]

    new = Tokens(tokens.issuer)
    for _ in range(3):
        with pytest.raises(IssuerUnavailable):
            new.who(new.token())
    tokens.issuer.say(DISCOVERY, {"issuer": tokens.issuer.url, "jwks_uri": f"{tokens.issuer.url}{KEYS}"})
    tokens.issuer.publish(rsa_key())
    new.clock.advance(FIRST_RETRY_SECONDS)
    assert new.who(new.token()).id == "person:ana"


def test_an_issuer_that_is_gone_keeps_its_known_keys() -> None:
    """Also where nobody listens any more; nothing but the signature decides then."""
    with issuer() as running:
        tokens = Tokens(running)
        tokens.who(tokens.token())
    tokens.clock.advance(KEEP_SECONDS)
    assert tokens.who(tokens.token(exp=NOW + 3_600)).id == "person:ana"
    assert tokens.why_not(signed(tokens.claims(), rsa_key(2))) == "unknown key of the issuer"
    with pytest.raises(IssuerUnavailable, match="API keys work meanwhile"):
        Tokens(running).who(tokens.token())


def test_who_knows_the_key_does_not_wait_for_the_issuer(tokens: Tokens) -> None:
    """While one request asks the issuer, which hangs, the others go on with what is known."""
    tokens.who(tokens.token())
    asked, answer = threading.Event(), threading.Event()
    usual = tokens.issuer.answers[KEYS]

    def hang() -> tuple[int, bytes]:
        asked.set()
        assert answer.wait(60)
        return usual()

    tokens.issuer.answers[KEYS] = hang
    tokens.clock.advance(KEEP_SECONDS)
    token = tokens.token(exp=NOW + 3_600)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(tokens.who, token)
        assert asked.wait(60)
        assert tokens.who(token).id == "person:ana"
        assert not waiting.done()
        answer.set()
        assert waiting.result().id == "person:ana"


def test_many_who_come_first_ask_once(tokens: Tokens) -> None:
    """They all wait for the one that asks."""
    token = tokens.token()
    with ThreadPoolExecutor(8) as pool:
        assert {identity.id for identity in pool.map(tokens.who, [token] * 16)} == {"person:ana"}
    assert tokens.issuer.requests == {DISCOVERY: 1, KEYS: 1}


# --- beside keys -----------------------------------------------------------------------------------------------------


class Keys:
    """An authenticator that knows everybody."""

    def authenticate(self, credential: str, *, address: str | None = None) -> Identity:
        """Whoever."""
        return Identity(id=f"key:{credential}", grants=())

    def at_once(self, credential: str, *, address: str | None = None) -> Identity | None:
        """Whoever."""
        return self.authenticate(credential, address=address)


def test_the_credential_says_whom_it_is_for(tokens: Tokens) -> None:
    """What begins like a key is one; all else is a token, where tokens are taken."""
    both = Authenticators(Keys(), OidcTokens(tokens.settings, tokens.keys, tokens.clock))
    assert both.authenticate("jl_x").id == "key:jl_x"
    assert both.authenticate(tokens.token()).id == "person:ana"
    assert both.at_once("jl_x") == both.authenticate("jl_x")
    assert both.at_once(tokens.token()) is None
    assert Authenticators(Keys()).authenticate("whatever").id == "key:whatever"


def test_a_server_takes_keys_and_tokens(tmp_path: Path) -> None:
    """As the settings say, from an open ledger; by the real clock."""
    with issuer() as running:
        chosen = load(
            database=f"sqlite:///{tmp_path}/ledger.db", oidc_issuer=running.url, oidc_audience="jobledger",
            oidc_grants={"it": {"role": "admin"}},
        )  # fmt: skip
        with closing(open_ledger(chosen, create=True)) as handle, open_authenticator(handle) as authenticator:
            key = ensure_admin_key(handle)
            assert key is not None
            assert authenticator.authenticate(key).id == "key:admin"
            claims = {"iss": running.url, "aud": "jobledger", "sub": "ana", "exp": time.time() + 60, "groups": ["it"]}
            identity = authenticator.authenticate(signed(claims, rsa_key()))
            assert (identity.id, identity.grants) == ("person:ana", (ADMIN,))
            for wrong in (f"{key}x", signed({**claims, "aud": "x"}, rsa_key()), "whatever"):
                with pytest.raises(Unauthenticated):
                    authenticator.authenticate(wrong)


def test_trouble_of_the_issuer_is_an_error_of_its_own() -> None:
    """It is no refusal: whoever asks may come again."""
    assert issubclass(IssuerUnavailable, JobledgerError) and not issubclass(IssuerUnavailable, Unauthenticated)
