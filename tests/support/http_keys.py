"""API keys for tests over HTTP, and what the ledger says of those who were refused something."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import httpx


class MadeKey(NamedTuple):
    """A key that was made."""

    key_id: str
    identity: str
    credential: str


def key_for(client: httpx.Client, role: str, **grant: object) -> MadeKey:
    """A key with one grant (`tenants`, `queues`, `extra`), made by an administrator."""
    body = {"name": f"a test's {role}", "grants": [{"role": role, **grant}], "reason": "a test"}
    made = client.post("/v1/keys", json=body)
    assert made.status_code == 201, made.text
    key = made.json()["key"]
    return MadeKey(key["key_id"], key["identity"], made.json()["credential"])


def refusals(client: httpx.Client, identity: str) -> list[dict[str, Any]]:
    """The records of what an identity was refused, oldest first."""
    return recorded(client, "system", topic="access.refused", actor=identity)


def recorded(client: httpx.Client, tenant: str, **filters: str) -> list[dict[str, Any]]:
    """Events of a tenant, as an auditor gets them."""
    answered = client.get("/v1/audit/events", params={"tenant": tenant, **filters})
    assert answered.status_code == 200, answered.text
    return [json.loads(line) for line in answered.text.splitlines()]
