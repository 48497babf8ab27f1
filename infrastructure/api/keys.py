"""API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from .jobs import Answer, Reason, Request
from .moments import Time

Role = Literal["emitter", "worker", "operator", "auditor", "admin"]
Extra = Literal["payloads.read", "dlq.requeue"]

_GRANT: JsonDict = {"role": "operator", "tenants": ["acme"], "queues": None, "extra": ["dlq.requeue"]}
_KEY: JsonDict = {
    "key_id": "4k2m9xq7ta", "identity": "key:4k2m9xq7ta", "name": "billing service", "status": "active",
    "technical": True, "grants": [_GRANT], "expires_at": None, "secrets": [{"expires_at": None}],
}  # fmt: skip


_KEY_VIEW: JsonDict = {
    **_KEY, "created_at": "2026-03-01T09:30:05.250000Z", "created_by": "key:admin", "last_used_at": None,
    "last_address": None,
}  # fmt: skip


class GrantRequest(Request):
    """What a key may do, for which tenants and queues (null: all of them)."""

    role: Role
    tenants: Annotated[list[str] | None, Field(max_length=1_000)] = None
    queues: Annotated[list[str] | None, Field(max_length=1_000)] = None
    extra: list[Extra] = Field(default=[], max_length=10, description="More than the role permits.")


class KeyRequest(Request):
    """A key to be made. One that is not `technical` stands for a person: it cannot run jobs."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"name": "billing service", "grants": [{"role": "emitter", "tenants": ["acme"]}], "reason": "OPS-12"}
            ]
        },
    )

    name: Annotated[str, Field(min_length=1, max_length=120)]
    grants: Annotated[list[GrantRequest], Field(min_length=1, max_length=20)]
    technical: bool = True
    expires_at: Annotated[Time | None, Field(description="Null: never.")] = None
    reason: Reason = ""


class RotateRequest(Request):
    """A next secret for a key. The one until now is good until `previous_expires_at`, else as long as it was."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"reason": "every 90 days", "previous_expires_at": "2026-03-02T00:00:00Z"}]
        },
    )  # fmt: skip

    expires_at: Time | None = None
    previous_expires_at: Time | None = None
    reason: Reason = ""


class Grant(Answer):
    """What a key may do, for which tenants and queues; null: all of them."""

    role: str
    tenants: list[str] | None
    queues: list[str] | None
    extra: list[str]


class Secret(Answer):
    """When a secret that is good ends; null: never."""

    expires_at: datetime | None


class Key(Answer):
    """A key as it is. `identity` is the actor that events name. The last of `secrets` is the newest."""

    model_config = ConfigDict(json_schema_extra={"examples": [_KEY]})

    key_id: str
    identity: str
    name: str
    status: str
    technical: bool
    grants: list[Grant]
    expires_at: datetime | None
    secrets: list[Secret]


class KeyView(Key):
    """A key, who made it and when it was used last (null: never; this lags a minute)."""

    created_at: datetime
    created_by: str
    last_used_at: datetime | None
    last_address: str | None


class Keys(Answer):
    """A page of keys in the order of their ids."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"keys": [_KEY_VIEW], "next_cursor": None}]})

    keys: list[KeyView]
    next_cursor: str | None


class IssuedKey(Answer):
    """A key and its `credential`: what its holder sends. It stands in this answer and nowhere else."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"key": _KEY, "credential": "jl_4k2m9xq7ta.<the secret>", "position": "5f0c.8192"}]
        }
    )

    key: Key
    credential: str = Field(repr=False)
    position: str | None


class KeyChanged(Answer):
    """A key after a command."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"key": {**_KEY_VIEW, "status": "revoked"}, "position": "5f0c.8192"}]}
    )

    key: KeyView
    position: str | None
