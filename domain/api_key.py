"""What an API key is: who may ask, proved by a secret of which only a hash is kept. A stream each.

The text of a key is `jl_<id>.<secret>`. At most two of its secrets are good at the same time, so that a service can be
given the next one while the last one still works.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, NamedTuple
from uuid import UUID

from pydantic import AwareDatetime, Field

from .errors import IllegalTransition, InvalidInput, ReasonRequired
from .event import Facts
from .identifiers import SYSTEM_TENANT, stream_id
from .identity import EXTRA_PERMISSIONS, TECHNICAL_ONLY, Grant, Identity

SECRETS_MAX = 2
"""Secrets of one key that may be good at the same time."""
GRANTS_MAX, NAMES_MAX = 20, 1_000
"""Grants of one key; tenants and queues of one grant."""

KeyId = Annotated[str, Field(pattern=r"^[a-z0-9]{4,16}$")]
"""Names a key, in its text and as the actor `key:<id>`. No secret."""
KeyName = Annotated[str, Field(pattern=r"^[^\x00]*$", min_length=1, max_length=120)]
SecretHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 of a secret's text: it is 256 random bits, so nothing slower is needed."""


class KeyStatus(StrEnum):
    """Whether a key proves anything."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


# --- events ----------------------------------------------------------------------------------------------------------


class ApiKeyCreated(Facts):
    """A key came to be: who has its secret may do what the grants say. Without `technical` it stands for a person."""

    topic: ClassVar[str] = "api_key.created"

    key_id: KeyId
    name: KeyName
    secret_sha256: SecretHash
    grants: tuple[Grant, ...]
    technical: bool = True
    expires_at: AwareDatetime | None = None
    reason: str


class ApiKeyRotated(Facts):
    """The key has one more secret. The one before it is good until `previous_expires_at` (None: as long as it was), all
    older ones are good no more."""

    topic: ClassVar[str] = "api_key.rotated"

    key_id: KeyId
    secret_sha256: SecretHash
    expires_at: AwareDatetime | None = None
    previous_expires_at: AwareDatetime | None = None
    reason: str


class ApiKeyRevoked(Facts):
    """The key proves nothing any more, for good."""

    topic: ClassVar[str] = "api_key.revoked"

    key_id: KeyId
    reason: str


API_KEY_FACTS: tuple[type[Facts], ...] = (ApiKeyCreated, ApiKeyRotated, ApiKeyRevoked)

# --- state -----------------------------------------------------------------------------------------------------------


class KeySecret(NamedTuple):
    """The hash of a secret, and until when it is good (None: no end)."""

    sha256: str
    expires_at: datetime | None

    def is_good(self, now: datetime) -> bool:
        """Whether it has not expired."""
        return self.expires_at is None or now < self.expires_at


class ApiKey(NamedTuple):
    """A key as its events tell it. `secrets`: the newest last."""

    key_id: str
    name: str
    grants: tuple[Grant, ...]
    technical: bool
    secrets: tuple[KeySecret, ...]
    revoked: bool = False

    @property
    def identity(self) -> Identity:
        """Whom it proves."""
        return Identity(id=f"key:{self.key_id}", grants=self.grants, technical=self.technical)

    @property
    def expires_at(self) -> datetime | None:
        """When its last secret ends; None: never."""
        ends = [secret.expires_at for secret in self.secrets]
        return None if None in ends else max(end for end in ends if end is not None)

    def status(self, now: datetime) -> KeyStatus:
        """Whether it proves anything at a moment."""
        if self.revoked:
            return KeyStatus.REVOKED
        return KeyStatus.ACTIVE if any(secret.is_good(now) for secret in self.secrets) else KeyStatus.EXPIRED


def key_stream(key_id: str) -> UUID:
    """The stream of a key; it belongs to the installation."""
    return stream_id(SYSTEM_TENANT, "api_key", key_id)


def evolve(state: ApiKey | None, facts: Facts) -> ApiKey:
    """The state after an event of the key's stream."""
    match facts:
        case ApiKeyCreated():
            secret = KeySecret(facts.secret_sha256, facts.expires_at)
            return ApiKey(facts.key_id, facts.name, facts.grants, facts.technical, (secret,))
        case ApiKeyRotated() if state is not None:
            previous = _ending(state.secrets[-1], facts.previous_expires_at)
            return state._replace(secrets=(previous, KeySecret(facts.secret_sha256, facts.expires_at))[-SECRETS_MAX:])
        case ApiKeyRevoked() if state is not None:
            return state._replace(revoked=True)
        case _:
            raise InvalidInput(f"{facts.topic} does not fit the key's stream", field="topic")


def _ending(secret: KeySecret, at: datetime | None) -> KeySecret:
    """The secret, good until then at most."""
    ends = [end for end in (secret.expires_at, at) if end is not None]
    return secret._replace(expires_at=min(ends, default=None))


# --- decisions -------------------------------------------------------------------------------------------------------


def create(
    *,
    key_id: str,
    name: str,
    secret_sha256: str,
    grants: tuple[Grant, ...],
    technical: bool,
    expires_at: datetime | None,
    reason: str,
    now: datetime,
) -> tuple[Facts, ...]:
    """Make a key; its id is taken once and for all."""
    _require_reason(reason, "making a key")
    _require_future(expires_at, now)
    require_sound_grants(grants, technical=technical)
    created = ApiKeyCreated(
        key_id=key_id, name=name, secret_sha256=secret_sha256, grants=grants, technical=technical,
        expires_at=expires_at, reason=reason,
    )  # fmt: skip
    return (created,)


def rotate(
    state: ApiKey,
    *,
    secret_sha256: str,
    expires_at: datetime | None,
    previous_expires_at: datetime | None,
    reason: str,
    now: datetime,
) -> tuple[Facts, ...]:
    """Give the key another secret. One that was made to expire goes on to do so."""
    _require_reason(reason, "rotating a key")
    _require_not_revoked(state, "rotated")
    _require_future(expires_at, now)
    if expires_at is None and state.secrets[-1].expires_at is not None:
        raise InvalidInput(
            "until when is the new secret good?", field="expires_at", rule="a key that expires goes on to expire",
            hint="for example --expires 90d",
        )  # fmt: skip
    rotated = ApiKeyRotated(
        key_id=state.key_id, secret_sha256=secret_sha256, expires_at=expires_at,
        previous_expires_at=previous_expires_at, reason=reason,
    )  # fmt: skip
    return (rotated,)


def revoke(state: ApiKey, *, reason: str) -> tuple[Facts, ...]:
    """End a key, with all of its secrets, for good."""
    _require_reason(reason, "revoking a key")
    _require_not_revoked(state, "revoked")
    return (ApiKeyRevoked(key_id=state.key_id, reason=reason),)


def _require_reason(reason: str, act: str) -> None:
    if not reason.strip():
        raise ReasonRequired(act)


def _require_not_revoked(state: ApiKey, target: str) -> None:
    if state.revoked:
        raise IllegalTransition("revoked", target, what="key", hint="make another one: jobledger keys create")


def _require_future(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise InvalidInput("the key would have expired already", field="expires_at", rule="lies in the future")


def require_sound_grants(grants: tuple[Grant, ...], *, technical: bool) -> None:
    """Raise `InvalidInput` for grants that make no sense, or that nobody could have."""
    if not 1 <= len(grants) <= GRANTS_MAX:
        raise InvalidInput(f"{len(grants)} grants", field="grants", rule=f"1 to {GRANTS_MAX} grants")
    for number, grant in enumerate(grants):
        field = f"grants.{number}"
        if beyond := sorted(grant.extra - EXTRA_PERMISSIONS):
            allowed = ", ".join(sorted(EXTRA_PERMISSIONS))
            raise InvalidInput(
                f"{beyond[0]} comes with a role only", field=f"{field}.extra", rule=f"may hold {allowed}"
            )
        if not technical and grant.permissions & TECHNICAL_ONLY:
            raise InvalidInput(
                f"a person cannot be {grant.role}", field=f"{field}.role", rule="only technical identities run jobs"
            )
        for what, names in (("tenants", grant.tenants), ("queues", grant.queues)):
            if names is not None and not 1 <= len(names) <= NAMES_MAX:
                raise InvalidInput(
                    f"{len(names)} {what}", field=f"{field}.{what}", rule=f"1 to {NAMES_MAX}, or null for all"
                )
