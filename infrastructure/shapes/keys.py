"""The stable shapes of API keys, and how grants are told to people."""

from __future__ import annotations

from datetime import datetime

from jobledger.application.key_messages import KeyView
from jobledger.domain.api_key import ApiKey
from jobledger.domain.identity import Grant

from ..shapes.texts import iso

Shape = dict[str, object]


def key(of: ApiKey, now: datetime) -> Shape:
    """A key as it is; `secrets` are those that are good, the newest last, by when they end (null: never)."""
    return {
        "key_id": of.key_id, "identity": of.identity.id, "name": of.name, "status": of.status(now).value,
        "technical": of.technical, "grants": [grant.model_dump(mode="json") for grant in of.grants],
        "expires_at": iso(of.expires_at),
        "secrets": [
            {"expires_at": iso(secret.expires_at)} for secret in of.secrets if secret.is_good(now) and not of.revoked
        ],
    }  # fmt: skip


def key_view(view: KeyView, now: datetime) -> Shape:
    """One line of `keys list`; `last_used_at` lags a minute at most, null: never used."""
    use = view.last_use
    return {
        **key(view.key, now), "created_at": iso(view.created_at), "created_by": view.created_by,
        "last_used_at": None if use is None else iso(use.last_used_at),
        "last_address": None if use is None else use.address,
    }  # fmt: skip


def grants_text(grants: tuple[Grant, ...]) -> str:
    """`emitter for acme in mail; operator for all tenants and dlq.requeue`."""
    return "; ".join(_grant_text(grant) for grant in grants)


def _grant_text(grant: Grant) -> str:
    tenants = "all tenants" if grant.tenants is None else ", ".join(sorted(grant.tenants))
    queues = "" if grant.queues is None else f" in {', '.join(sorted(grant.queues))}"
    extra = "".join(f" and {permission}" for permission in sorted(grant.extra))
    return f"{grant.role} for {tenants}{queues}{extra}"
