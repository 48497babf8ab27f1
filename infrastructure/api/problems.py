"""Problem details (RFC 9457)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

TYPE_PREFIX = "https://jobledger.dev/problems/"
"""What a problem's `type` begins with: an identifier, stable for ever; `code` follows, with dashes."""
MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """Why a request was not carried out: what happened, which field broke which rule, and what to do next."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": f"{TYPE_PREFIX}unknown-tenant", "title": "Unknown tenant", "status": 404,
                    "detail": "there is no tenant 'acme'", "code": "unknown_tenant", "field": "path.tenant",
                    "rule": "must exist", "hint": "create it with: jobledger tenants create acme",
                    "request_id": "0b5f2c8e9d7a4f31",
                }
            ]
        }
    )  # fmt: skip

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
    rule: str | None = None
    hint: str | None = None
    request_id: str | None = None
