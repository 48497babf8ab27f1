"""The machine's clock and randomness, behind the ports `Clock` and `Identifiers`."""

from __future__ import annotations

import random
import secrets
import time
from datetime import UTC, datetime
from uuid import UUID

from jobledger.domain.identifiers import uuid7

_KEY_ID_CHARACTERS, _KEY_ID_LENGTH = "abcdefghjkmnpqrstuvwxyz023456789", 10
_SECRET_BYTES = 32


class SystemClock:
    """The operating system's clocks."""

    def now(self) -> datetime:
        """This moment, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()


class RandomIdentifiers:
    """Identifiers from the process's random generator, which is seeded by the kernel, and again after a fork.

    They must be unique, not secret.
    """

    def job_id(self) -> UUID:
        """A new UUIDv7."""
        return uuid7(time.time_ns() // 1_000_000, random.getrandbits(74))

    def correlation_id(self) -> str:
        """32 hexadecimal digits."""
        return f"{random.getrandbits(128):032x}"

    def trace_parent(self) -> str:
        """A sampled W3C traceparent; neither its trace id nor its span id is zero."""
        return f"00-{random.getrandbits(128) or 1:032x}-{random.getrandbits(64) or 1:016x}-01"

    def jitter(self) -> float:
        """A draw from [0, 1)."""
        return random.random()


class SystemKeyMint:
    """Keys' ids and secrets from the system's generator (the port `KeyMint`)."""

    def key_id(self) -> str:
        """Ten characters that nobody takes for one another: 50 bits."""
        return "".join(secrets.choice(_KEY_ID_CHARACTERS) for _ in range(_KEY_ID_LENGTH))

    def secret(self) -> str:
        """256 bits."""
        return secrets.token_urlsafe(_SECRET_BYTES)
