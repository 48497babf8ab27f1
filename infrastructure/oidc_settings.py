"""What an installation decides about tokens of an OIDC issuer; the settings `JOBLEDGER_OIDC_...` become this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator

from jobledger.domain.api_key import require_sound_grants
from jobledger.domain.errors import InvalidInput
from jobledger.domain.identity import Grant

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"
]  # fmt: skip
"""What a token may be signed with: asymmetric algorithms alone. `none` and `HS...` cannot be allowed."""

DEFAULT_ALGORITHMS: Final[tuple[Algorithm, ...]] = ("RS256", "ES256", "EdDSA")
_THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}


class TechnicalMark(NamedTuple):
    """Marks the tokens of services: a claim that is there, or that is `value`."""

    claim: str
    value: str | None


class OidcSettings(NamedTuple):
    """The issuer, what its tokens must say, and what they may do."""

    issuer: str
    audience: str
    jwks_url: str | None
    algorithms: tuple[Algorithm, ...]
    leeway_seconds: int
    identity_claim: str
    technical: TechnicalMark | None
    grants_claim: str
    grants: Mapping[str, tuple[Grant, ...]]


def is_trustworthy(url: str) -> bool:
    """Whether keys may come from there: over TLS, or from this machine."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is no port
    except ValueError:
        return False
    if not parts.hostname or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _THIS_MACHINE)


def _trustworthy(url: str) -> str:
    if not is_trustworthy(url) or urlsplit(url).query or urlsplit(url).fragment:
        raise ValueError("must be an https:// URL (http:// for this machine only)")
    return url


def _mark(text: object) -> object:
    if not isinstance(text, str):
        return text
    claim, equals, value = text.partition("=")
    if not claim or (equals and not value):
        raise ValueError("is CLAIM or CLAIM=VALUE")
    return TechnicalMark(claim, value if equals else None)


def _lists(value: object) -> object:
    """A single grant may stand for a list of one."""
    if not isinstance(value, dict):
        return value
    return {name: [grants] if isinstance(grants, dict) else grants for name, grants in value.items()}


def _sound(grants: dict[str, tuple[Grant, ...]]) -> dict[str, tuple[Grant, ...]]:
    for name, given in grants.items():
        try:
            require_sound_grants(given, technical=True)
        except InvalidInput as error:
            raise ValueError(f"{name!r}: {error.field}: {error.message} ({error.rule})") from error
    return grants


Url = Annotated[str, AfterValidator(_trustworthy)]
Mark = Annotated[TechnicalMark | None, BeforeValidator(_mark)]
GrantsByValue = Annotated[dict[str, tuple[Grant, ...]], BeforeValidator(_lists), AfterValidator(_sound)]
