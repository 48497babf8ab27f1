"""Tokens of an OIDC issuer: signed by one of its keys, meant for us, valid now. What they say decides who asks."""

from __future__ import annotations

import binascii
import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import (
    ExpiredTokenError,
    InvalidClaimError,
    JoseError,
    MissingClaimError,
    UnsupportedAlgorithmError,
)
from pydantic import ValidationError

from jobledger.application.authentication import refuse_credential
from jobledger.application.ports import Clock
from jobledger.domain.identity import Grant, Identity

from ..oidc_settings import OidcSettings
from .issuer_keys import IssuerKeys

TOKEN_LENGTH_MAX = 16_384
_TOKEN = re.compile(r"[A-Za-z0-9_-]{2,4096}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_HEADER_BYTES_MAX = 4_096
_WORDS = ("scope", "scp")
"""Claims that are lists with blanks between (RFC 8693)."""

Claims = Mapping[str, Any]


class _Registry(jws.JWSRegistry):
    """The algorithms that are set and no others. A header may say more than we know, as its RFC wants it."""

    max_header_length = _HEADER_BYTES_MAX

    def get_alg(self, name: str) -> Any:  # noqa: ANN401 - a class that joserfc keeps to itself
        """One that is set; without a warning to stderr that an issuer's choice is not the newest."""
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError(f"{name!r} is not allowed")
        return self.algorithms[name]


class OidcTokens:
    """The `Authenticator` of JWTs. Of what is wrong only the log tells, never with the token."""

    def __init__(self, settings: OidcSettings, keys: IssuerKeys, clock: Clock) -> None:
        self._settings = settings
        self._keys = keys
        self._clock = clock
        self._registry = _Registry(algorithms=settings.algorithms, strict_check_header=False)

    def authenticate(self, credential: str, *, address: str | None = None) -> Identity:
        """See `Authenticator`. `IssuerUnavailable` where no key of the issuer is known and it does not answer."""
        del address
        if len(credential) > TOKEN_LENGTH_MAX or _TOKEN.fullmatch(credential) is None:
            refuse_credential("malformed token")
        claims = self._verified(credential)
        self._require_valid(claims)
        return self._identity(claims)

    def at_once(self, credential: str, *, address: str | None = None) -> Identity | None:
        """See `Authenticator`: never, since keys may have to be asked for."""
        return None

    # --- the signature -----------------------------------------------------------------------------------------------

    def _verified(self, token: str) -> Claims:
        header = _header(token)
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._settings.algorithms:
            refuse_credential("algorithm of the token")
        if key_id is not None and not isinstance(key_id, str):
            refuse_credential("malformed token")
        key = self._keys.find(key_id, algorithm)
        if key is None:
            refuse_credential("unknown key of the issuer", key_id=ascii(key_id)[:100])
        try:
            return jwt.decode(token, key, list(self._settings.algorithms), self._registry).claims
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            refuse_credential("signature of the token", error=type(error).__name__)

    # --- what it says ------------------------------------------------------------------------------------------------

    def _require_valid(self, claims: Claims) -> None:
        """Issuer, audience and time. A token without an end is none."""
        wanted = jwt.JWTClaimsRegistry(
            now=int(self._clock.now().timestamp()), leeway=self._settings.leeway_seconds,
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": self._settings.audience},
            exp={"essential": True}, sub={"essential": True},
        )  # fmt: skip
        try:
            wanted.validate(dict(claims))
        except ExpiredTokenError:
            refuse_credential("expired token")
        except InvalidClaimError as error:
            refuse_credential("claim of the token", claim=str(error.claim))
        except MissingClaimError as error:
            refuse_credential("missing claim of the token", claim=str(error.claim))

    def _identity(self, claims: Claims) -> Identity:
        """Whom the claims name, and what they grant."""
        technical = self._is_technical(claims)
        claim = "sub" if technical else self._settings.identity_claim
        name = claims.get(claim)
        if not isinstance(name, str) or not name.strip():
            refuse_credential("nobody named by the token", claim=claim)
        if claim == "email" and claims.get("email_verified") in (False, "false"):
            refuse_credential("unverified address in the token", claim=claim)
        try:
            return Identity(
                id=f"{'service' if technical else 'person'}:{name}", grants=self._grants(claims), technical=technical
            )
        except ValidationError:
            refuse_credential("nobody named by the token", claim=claim)

    def _is_technical(self, claims: Claims) -> bool:
        mark = self._settings.technical
        if mark is None:
            return False
        values = set(_values(claims, mark.claim))
        return bool(values) if mark.value is None else mark.value in values

    def _grants(self, claims: Claims) -> tuple[Grant, ...]:
        values = set(_values(claims, self._settings.grants_claim))
        return tuple(grant for value, grants in self._settings.grants.items() if value in values for grant in grants)


def _header(token: str) -> dict[str, Any]:
    """What the token says of itself, not proved yet."""
    encoded = token.partition(".")[0]
    try:
        header = json.loads(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        refuse_credential("malformed token")
    if not isinstance(header, dict):
        refuse_credential("malformed token")
    return header


def _values(claims: Claims, path: str) -> Iterator[str]:
    """The texts of a claim: of a list each, of a text itself, of scopes their words."""
    found = claims[path] if path in claims else _inside(claims, path)
    for value in found if isinstance(found, list) else [found]:
        if isinstance(value, str) and value:
            yield value
    if isinstance(found, str) and path in _WORDS:
        yield from found.split()


def _inside(claims: Claims, path: str) -> object:
    """What dots lead to; None where they lead nowhere."""
    found: object = claims
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found
