"""What one can ask about API keys. A secret stands in the answer that made it, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, NamedTuple

from pydantic import Field

from jobledger.domain.api_key import ApiKey, KeyId, KeyName
from jobledger.domain.identity import Grant
from jobledger.domain.moment import Moment

from .commands import Reason
from .key_ports import KeyUse
from .message import Command, Query

KEYS_LIMIT_DEFAULT, KEYS_LIMIT_MAX = 500, 1_000


class KeyView(NamedTuple):
    """A key as it is; `last_use` is None where it was never used."""

    key: ApiKey
    created_at: datetime
    created_by: str
    last_use: KeyUse | None = None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key, and the text that proves it: shown this once, kept by nobody."""

    key: ApiKey
    credential: str = field(repr=False)


class CreateKey(Command[IssuedKey]):
    """Make a key. `technical` keys are those of services and workers; others stand for a person."""

    key_name: KeyName
    grants: tuple[Grant, ...]
    technical: bool = True
    expires_at: Moment | None = None
    reason: Reason = ""


class CreateFirstKey(Command[IssuedKey | None]):
    """Make a key that may do everything a person may, where the installation never had a key. None: it had one."""

    reason: Reason = ""


class RotateKey(Command[IssuedKey]):
    """Give a key another secret. The last one stays good: until `previous_expires_at` where that is given, else as
    long as it was; the one before it goes."""

    key_id: KeyId
    expires_at: Moment | None = None
    previous_expires_at: Moment | None = None
    reason: Reason = ""


class RevokeKey(Command[KeyView]):
    """End a key for good, within `REMEMBER_SECONDS` everywhere."""

    key_id: KeyId
    reason: Reason = ""


class KeyPage(NamedTuple):
    """Keys in the order of their ids. `next` begins the next page, None on the last one."""

    keys: tuple[KeyView, ...]
    next: str | None


class ListKeys(Query[KeyPage]):
    """Every key there is and was, without secrets."""

    after_key: str = Field(default="", max_length=16)
    limit: Annotated[int, Field(ge=1, le=KEYS_LIMIT_MAX)] = KEYS_LIMIT_DEFAULT


class GetKey(Query[KeyView]):
    """One key."""

    key_id: KeyId
