"""Who is logged in: signed cookies, and links that log in once.

A cookie names the API key it was given for, and which secret of it: what the key may do is read anew with each request,
and a key that is revoked, or a secret that has expired, ends the sessions it began. The cookie of who showed a token of
the issuer says what that token granted: the session ends when the token does, or what the installation decides about
tokens changes. A session of a one-time link is that of whoever started the server; it ends with the server at the
latest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import secrets
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import reduce
from threading import Lock
from typing import NamedTuple

from jobledger.application.authentication import KEY_PREFIX, Authenticator, unauthenticated
from jobledger.application.key_ports import EndedSessions
from jobledger.application.keys import secret_sha256
from jobledger.application.ports import Clock, StreamReader
from jobledger.domain.api_key import ApiKey, evolve, key_stream
from jobledger.domain.errors import InvalidInput
from jobledger.domain.event import Facts
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.identity import Grant, Identity, Role

from ..oidc_settings import OidcSettings

SESSION_SECONDS = 12 * 3_600
LINK_SECONDS = 600.0
COOKIE = "__Host-jobledger"
_COOKIE_LENGTH_MAX = 3_900
"""Browsers keep 4,096 bytes, the name among them."""
_HASH_LENGTH = 32
_LINKS_MAX = 100


class _Said(NamedTuple):
    """What a cookie says. `key` and `secret` of a session of an API key, `name` of one of a link, `identity` (JSON) of
    one of a token."""

    id: str
    until: float
    key: str = ""
    secret: str = ""
    name: str = ""
    identity: str = ""


class Session(NamedTuple):
    """Who is logged in. `authenticated`: whether a key or token proved it."""

    id: str
    identity: Identity
    name: str
    authenticated: bool


class Sessions:
    """Begins, finds and ends sessions. Safe in any thread."""

    def __init__(
        self, signing_key: bytes, authenticator: Authenticator, reader: StreamReader, keys: EndedSessions, clock: Clock,
        *, oidc: OidcSettings | None = None,
    ) -> None:  # fmt: skip
        """`oidc`: what the authenticator takes tokens by; None where it takes none."""
        self.issuer = None if oidc is None else oidc.issuer
        self._token_key = hmac.digest(signing_key, b"console token session " + _decided(oidc), hashlib.sha256)
        self._key = hmac.digest(signing_key, b"console session", hashlib.sha256)
        self._own_key = secrets.token_bytes(32)
        self._authenticator = authenticator
        self._reader = reader
        self._keys = keys
        self._clock = clock
        self._lock = Lock()
        self._ended: dict[str, float] = {}

    def begin(self, credential: str, address: str | None) -> str:
        """The cookie of a new session for who has an API key or a token. Raises `Unauthenticated`, `IssuerUnavailable`,
        and `InvalidInput` for a token that grants more than a cookie can say."""
        identity = self._authenticator.authenticate(credential, address=address)
        if not credential.startswith(KEY_PREFIX):
            return self._begin_with_token(credential, identity)
        key_id, _, secret = credential.removeprefix(KEY_PREFIX).partition(".")
        return self._signed(self._key, key=key_id, secret=secret_sha256(secret)[:_HASH_LENGTH])

    def _begin_with_token(self, token: str, identity: Identity) -> str:
        until = _expiry(token)
        if until <= self._clock.now().timestamp():  # good until now, by the leeway alone
            raise unauthenticated()
        cookie = self._signed(self._token_key, until=until, identity=identity.model_dump_json())
        if len(cookie) > _COOKIE_LENGTH_MAX:
            raise InvalidInput("grants too much for a login", field="key", rule="fits into a cookie")
        return cookie

    def begin_as(self, name: str) -> str:
        """The cookie of a session of whoever started the server."""
        return self._signed(self._own_key, name=name)

    def find(self, cookie: str | None) -> Session | None:
        """Whose session a cookie is; None for what is none, or no more."""
        for key in self._signing_keys:
            said = _read(cookie or "", key)
            if said is None or said.until <= self._clock.now().timestamp() or said.id in self._ended:
                continue
            if key is self._own_key:
                return Session(said.id, _administrator(said.name), said.name, authenticated=False)
            return self._of_key(said) if key is self._key else self._of_token(said)
        return None

    def end(self, cookie: str | None) -> None:
        """Whoever has the cookie is logged in no more, on no server: durable once it returns. Raises `LedgerError`."""
        for key in self._signing_keys:
            said = _read(cookie or "", key)
            if said is not None:
                now = self._clock.now().timestamp()
                with self._lock:
                    self._ended = {id_: until for id_, until in self._ended.items() if until > now}
                    self._ended[said.id] = said.until
            if said is not None and key is not self._own_key:  # a session of a link ends with this server
                until = datetime.fromtimestamp(said.until, UTC)
                self._keys.end_session(_hashed(said.id), until, now=self._clock.now())

    @property
    def _signing_keys(self) -> tuple[bytes, ...]:
        return self._key, self._token_key, self._own_key

    def _of_token(self, said: _Said) -> Session | None:
        if self._keys.is_session_ended(_hashed(said.id)):
            return None
        identity = Identity.model_validate_json(said.identity)
        return Session(said.id, identity, identity.id.partition(":")[2] or identity.id, authenticated=True)

    def _of_key(self, said: _Said) -> Session | None:
        if self._keys.is_session_ended(_hashed(said.id)):
            return None
        events = self._reader.stream(SYSTEM_TENANT, key_stream(said.key))
        key = reduce(_evolved, (event.facts for event in events), None)
        if key is None or key.revoked:
            return None
        now = self._clock.now()
        if not any(secret.sha256[:_HASH_LENGTH] == said.secret and secret.is_good(now) for secret in key.secrets):
            return None
        return Session(said.id, key.identity, key.name, authenticated=True)

    def _signed(self, signing_key: bytes, until: float = math.inf, **about: str) -> str:
        until = min(until, self._clock.now().timestamp() + SESSION_SECONDS)
        said = _Said(secrets.token_hex(8), until, **about)._asdict()
        content = zlib.compress(json.dumps(said, separators=(",", ":")).encode())
        return _encoded(hmac.digest(signing_key, content, hashlib.sha256) + content)


class LoginLinks:
    """Links that log in whoever has one, once, within `LINK_SECONDS`."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = Lock()
        self._links: dict[str, tuple[str, float]] = {}

    def make(self, name: str) -> str:
        """A token for the link of somebody; of too many, the oldest is good no more."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._links[secret_sha256(token)] = name, self._monotonic() + LINK_SECONDS
            while len(self._links) > _LINKS_MAX:
                self._links.pop(next(iter(self._links)))
        return token

    def is_good(self, token: str) -> bool:
        """Whether it would log somebody in now."""
        with self._lock:
            _, until = self._links.get(secret_sha256(token), ("", 0.0))
        return until > self._monotonic()

    def take(self, token: str) -> str | None:
        """Whom it logs in, this once; None where it does not, or not any more."""
        with self._lock:
            name, until = self._links.pop(secret_sha256(token), ("", 0.0))
        return name if until > self._monotonic() else None


def _administrator(name: str) -> Identity:
    """Who started the server has the ledger in his hands anyway."""
    return Identity(id=name, grants=(Grant(role=Role.ADMIN),), technical=False)


def _read(cookie: str, key: bytes) -> _Said | None:
    if len(cookie) > _COOKIE_LENGTH_MAX:
        return None
    try:
        signed = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
    except (binascii.Error, ValueError):
        return None
    signature, content = signed[:32], signed[32:]
    if not hmac.compare_digest(signature, hmac.digest(key, content, hashlib.sha256)):
        return None
    return _Said(**json.loads(zlib.decompress(content)))


def _hashed(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decided(oidc: OidcSettings | None) -> bytes:
    """What the installation decides about tokens, the same in each of its processes."""
    if oidc is None:
        return b""
    grants = {value: [one.model_dump_json() for one in granted] for value, granted in sorted(oidc.grants.items())}
    return json.dumps([*oidc._replace(grants={}), grants], default=repr).encode()


def _expiry(token: str) -> float:
    """When a token ends, that has just been proved."""
    part = token.split(".")[1]
    return float(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["exp"])


def _evolved(state: ApiKey | None, facts: Facts) -> ApiKey | None:
    return evolve(state, facts)
