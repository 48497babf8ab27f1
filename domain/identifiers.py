"""Identifiers: job ids that sort by birth, stream ids that are their natural key.

Both are pure: whoever mints a job id supplies the time and the randomness (see the `Identifiers` port).
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

from .errors import InvalidInput

SYSTEM_TENANT = "system"
"""The reserved tenant that owns the events of the installation itself."""

BIRTH_TOLERANCE = timedelta(minutes=5)
"""How far the birth time inside a supplied job id may lie from the database's clock (architecture, section 2)."""

SHORT_ID_LENGTH = 8
_RANDOM_A_MASK, _RANDOM_B_MASK = (1 << 12) - 1, (1 << 62) - 1


def uuid7(unix_milliseconds: int, randomness: int) -> UUID:
    """A UUIDv7 (RFC 9562) of a moment in milliseconds since 1970 and at least 74 random bits."""
    return UUID(
        int=(unix_milliseconds << 80)
        | (7 << 76)
        | (((randomness >> 62) & _RANDOM_A_MASK) << 64)
        | (2 << 62)
        | (randomness & _RANDOM_B_MASK)
    )


def born_at(job_id: UUID) -> datetime:
    """The moment inside a UUIDv7, in UTC."""
    return datetime.fromtimestamp((job_id.int >> 80) / 1000, tz=UTC)


def check_supplied_id(job_id: UUID, now: datetime) -> UUID:
    """The id, if it is a UUIDv7 born within five minutes of `now`; else `InvalidInput`."""
    if job_id.version != 7:
        raise InvalidInput(f"{job_id} is not a UUIDv7", field="job_id", rule="UUID version 7")
    if abs(born_at(job_id) - now) > BIRTH_TOLERANCE:
        raise InvalidInput(
            f"{job_id} was born at {born_at(job_id).isoformat()}", field="job_id",
            rule="born within 5 minutes of the database's clock",
        )  # fmt: skip
    return job_id


def stream_id(tenant: str, kind: str, key: str) -> UUID:
    """The UUIDv8 of a stream with a natural key: first byte `ff`, the rest a hash of tenant, kind and key.

    Inserting version 1 of such a stream is its uniqueness check.
    """
    digest = hashlib.sha256("\x00".join((tenant, kind, key)).encode()).digest()
    number = int.from_bytes(b"\xff" + digest[:15], "big")
    return UUID(int=(number & ~(0xF << 76) & ~(0x3 << 62)) | (8 << 76) | (2 << 62))


def short_id(job_id: UUID) -> str:
    """The last eight characters: random, hence telling within a tenant, and short enough to type."""
    return job_id.hex[-SHORT_ID_LENGTH:]
