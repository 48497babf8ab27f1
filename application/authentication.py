"""Who asks? A credential in, a proved identity out.

Whatever is wrong with a credential, the answer is the same; the log says what it was, without the credential.
"""

from __future__ import annotations

import hmac
import re
from collections import OrderedDict
from collections.abc import Sequence
from functools import reduce
from threading import Lock
from typing import NamedTuple, NoReturn, Protocol

from jobledger.domain.api_key import SECRETS_MAX, ApiKey, KeySecret, evolve, key_stream
from jobledger.domain.errors import Unauthenticated
from jobledger.domain.event import Facts
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.identity import Identity

from .key_uses import KeyUses
from .keys import secret_sha256
from .logs import logger
from .ports import Clock, StreamReader

REMEMBER_SECONDS = 2.0
"""How long a process trusts what it read of a key: a key that was revoked proves nothing after that."""
REMEMBERED_MAX = 10_000
"""Keys (and ids that are none) that a process remembers at most."""

KEY_PREFIX = "jl_"
_KEY = re.compile(r"jl_([a-z0-9]{4,16})\.([A-Za-z0-9_-]{43})", re.ASCII)
_NO_SECRET = KeySecret("0" * 64, None)


class Authenticator(Protocol):
    """Proves who asks."""

    def authenticate(self, credential: str, *, address: str | None = None) -> Identity:
        """Whose credential it is. `Unauthenticated` where it proves nothing, always in the same words; an error of the
        ledger or the issuer where that cannot be found out now. `address`: where it came from."""
        ...

    def at_once(self, credential: str, *, address: str | None = None) -> Identity | None:
        """The same where that is known without waiting for anything, in microseconds. None: ask `authenticate`, also
        for what is wrong."""
        ...


def unauthenticated() -> Unauthenticated:
    """The one answer to who proves nothing: with no credential, or one that is wrong, expired or withdrawn."""
    return Unauthenticated(
        "nothing proves who asks", rule="a valid API key or token", hint="send: Authorization: Bearer <key or token>"
    )


def refuse_credential(why: str, **about: str) -> NoReturn:
    """Raise the one answer; the log says why. Nothing in `about` may be secret."""
    logger().info("authentication.failed", why=why, **about)
    raise unauthenticated()


class ApiKeys:
    """The `Authenticator` of `jl_...`. It believes what it read of a key for `REMEMBER_SECONDS`."""

    def __init__(self, reader: StreamReader, clock: Clock, uses: KeyUses) -> None:
        self._reader = reader
        self._clock = clock
        self._uses = uses
        self._lock = Lock()
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()

    def authenticate(self, credential: str, *, address: str | None = None) -> Identity:
        """See `Authenticator`."""
        written = _KEY.fullmatch(credential)
        if written is None:
            refuse_credential("malformed key")
        key_id, secret = written.groups()
        known = self._known(key_id)
        matching = _matching(known.key.secrets if known else (), secret)
        if known is None:
            refuse_credential("unknown key", key_id=key_id)
        if matching is None:
            refuse_credential("wrong secret", key_id=key_id)
        if known.key.revoked:
            refuse_credential("revoked key", key_id=key_id)
        if not matching.is_good(self._clock.now()):
            refuse_credential("expired secret", key_id=key_id)
        self._uses.note(key_id, address)
        return known.identity

    def at_once(self, credential: str, *, address: str | None = None) -> Identity | None:
        """See `Authenticator`: keys that are remembered."""
        written = _KEY.fullmatch(credential)
        remembered = None if written is None else self._recall(written[1])
        if written is None or remembered is None or remembered.known is None or remembered.known.key.revoked:
            return None
        matching = _matching(remembered.known.key.secrets, written[2])
        if matching is None or not matching.is_good(self._clock.now()):
            return None
        self._uses.note(written[1], address)
        return remembered.known.identity

    def _recall(self, key_id: str) -> _Remembered | None:
        """What was read of a key, as long as it is trusted."""
        with self._lock:
            remembered = self._remembered.get(key_id)
        return remembered if remembered is not None and remembered.until > self._clock.monotonic() else None

    def _known(self, key_id: str) -> _Known | None:
        remembered = self._recall(key_id)
        if remembered is not None:
            return remembered.known
        now = self._clock.monotonic()  # before it is read: it is trusted no longer than it is old
        known = self._read(key_id)
        with self._lock:
            self._remembered[key_id] = _Remembered(now + REMEMBER_SECONDS, known)
            self._remembered.move_to_end(key_id)
            if len(self._remembered) > REMEMBERED_MAX:
                self._remembered.popitem(last=False)
        return known

    def _read(self, key_id: str) -> _Known | None:
        stored = self._reader.stream(SYSTEM_TENANT, key_stream(key_id))
        key = reduce(_evolved, (event.facts for event in stored), None)
        return None if key is None else _Known(key, key.identity)


class Authenticators:
    """One `Authenticator` for keys, one for tokens where there is an issuer: the credential says which it is for."""

    def __init__(self, keys: Authenticator, tokens: Authenticator | None = None) -> None:
        self._keys = keys
        self._tokens = tokens

    def authenticate(self, credential: str, *, address: str | None = None) -> Identity:
        """See `Authenticator`."""
        if self._tokens is None or credential.startswith(KEY_PREFIX):
            return self._keys.authenticate(credential, address=address)
        return self._tokens.authenticate(credential, address=address)

    def at_once(self, credential: str, *, address: str | None = None) -> Identity | None:
        """See `Authenticator`."""
        if self._tokens is None or credential.startswith(KEY_PREFIX):
            return self._keys.at_once(credential, address=address)
        return self._tokens.at_once(credential, address=address)


class _Known(NamedTuple):
    key: ApiKey
    identity: Identity


class _Remembered(NamedTuple):
    until: float
    known: _Known | None


def _matching(secrets: Sequence[KeySecret], given: str) -> KeySecret | None:
    """The secret that was given. An id that is none costs the same comparisons as one that is."""
    hashed = secret_sha256(given)
    matching = None
    for secret in [*secrets, *[_NO_SECRET] * SECRETS_MAX][:SECRETS_MAX]:
        if hmac.compare_digest(secret.sha256, hashed):
            matching = secret
    return matching


def _evolved(state: ApiKey | None, facts: Facts) -> ApiKey | None:
    return evolve(state, facts)
