"""API keys: make, list, rotate, revoke."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ..api.jobs import ReasonRequest
from ..api.keys import GrantRequest, IssuedKey, KeyChanged, KeyRequest, Keys, KeyView, RotateRequest
from .core import Core, ask, path
from .exchange import Emits, Flow
from .paging import paged

PAGE_KEYS = 500


def list_keys(core: Core, *, limit: int | None = None) -> Emits[KeyView]:
    """All keys there are and were, in the order of their ids, without their secrets; or at most `limit`."""
    rows = PAGE_KEYS if limit is None else min(limit, PAGE_KEYS)

    def page(cursor: str | None) -> Flow[Keys]:
        return ask(core, core.request("GET", path("keys"), parameters={"limit": rows, "cursor": cursor}), Keys)

    return paged(page, items=lambda found: found.keys, following=lambda found: found.next_cursor, limit=limit)


def create_key(
    core: Core,
    name: str,
    grants: Sequence[GrantRequest | Mapping[str, Any]],
    *,
    reason: str,
    technical: bool = True,
    expires_at: datetime | None = None,
) -> Flow[IssuedKey]:
    """Make a key. A grant is a `role` (emitter, worker, operator, auditor, admin) with `tenants` and `queues` (None:
    all) and `extra` permissions (payloads.read, dlq.requeue). One that is not `technical` stands for a person.

    Its `credential` stands in this answer and nowhere else. Where the answer is lost this raises: revoke that key.
    """
    said = {"name": name, "grants": list(grants), "technical": technical, "expires_at": expires_at, "reason": reason}
    body = KeyRequest.model_validate({name: value for name, value in said.items() if value is not None})
    return ask(core, core.request("POST", path("keys"), body=body), IssuedKey)


def rotate_key(
    core: Core,
    key_id: str,
    *,
    reason: str,
    expires_at: datetime | None = None,
    previous_expires_at: datetime | None = None,
) -> Flow[IssuedKey]:
    """Give a key its next secret. The one until now stays good: until `previous_expires_at`, else as long as it was."""
    said = {"expires_at": expires_at, "previous_expires_at": previous_expires_at, "reason": reason}
    body = RotateRequest.model_validate({name: value for name, value in said.items() if value is not None})
    return ask(core, core.request("POST", path("keys", key_id, "rotate"), body=body), IssuedKey)


def revoke_key(core: Core, key_id: str, *, reason: str) -> Flow[KeyChanged]:
    """End a key for good: within two seconds no server believes in it. Raises `Conflict` where it is revoked."""
    request = core.request("POST", path("keys", key_id, "revoke"), body=ReasonRequest(reason=reason))
    return ask(core, request, KeyChanged)
