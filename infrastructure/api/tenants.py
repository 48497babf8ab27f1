"""Tenants."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from .jobs import Answer, Reason, Request


class TenantRequest(Request):
    """A tenant to be made. Its name is its id, for ever."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "acme", "display_name": "Acme Ltd", "reason": "a new customer"}]},
    )

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    display_name: Annotated[str, Field(max_length=200)] = ""
    reason: Reason = ""


class TenantChanged(Answer):
    """A tenant after a command."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "acme", "status": "active", "position": "5f0c.8192"}]}
    )

    name: str
    status: str
    position: str | None


class Tenant(Answer):
    """A tenant."""

    name: str
    status: str
    display_name: str


class Tenants(Answer):
    """Those that the caller has a grant for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"tenants": [{"name": "acme", "status": "active", "display_name": "Acme Ltd"}]}]
        }
    )  # fmt: skip

    tenants: list[Tenant]
