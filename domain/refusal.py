"""A refused dispatch is recorded too: on the installation's side, with what was claimed and why not, and no payload."""

from __future__ import annotations

from typing import ClassVar

from .errors import Refusal
from .event import Facts

_CLAIM_LENGTH, _MESSAGE_LENGTH = 120, 500


class DispatchRefused(Facts):
    """Somebody asked for a job and was refused. `tenant_claimed` and `type_claimed` are what was asked for, cut to
    120 characters; they may name what does not exist."""

    topic: ClassVar[str] = "dispatch.refused"

    tenant_claimed: str
    type_claimed: str
    code: str
    field: str | None
    rule: str | None
    message: str
    line: int | None = None


def refuse(error: Refusal, *, tenant: str, job_type: str, line: int | None = None) -> DispatchRefused:
    """What is recorded of a refusal. The message names fields and rules, never values of a payload."""
    return DispatchRefused(
        tenant_claimed=_storable(tenant, _CLAIM_LENGTH), type_claimed=_storable(job_type, _CLAIM_LENGTH),
        code=error.code, field=None if error.field is None else _storable(error.field, _CLAIM_LENGTH),
        rule=None if error.rule is None else _storable(error.rule, _MESSAGE_LENGTH),
        message=_storable(error.message, _MESSAGE_LENGTH), line=line,
    )  # fmt: skip


def _storable(text: str, length: int) -> str:
    """What was claimed, bounded; a lone surrogate, which no UTF-8 holds, becomes a question mark."""
    return text[:length].encode("utf-8", "replace").decode()
