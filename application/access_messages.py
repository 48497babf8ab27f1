"""What is recorded of those who asked for what they may not have."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .message import NO_NUL, Command

Asked = Annotated[str, Field(pattern=NO_NUL, max_length=200)]


class RecordRefusedAccess(Command[str]):
    """Record that somebody was refused; answers with the event's id. `tenant_claimed` is what was asked for: it may not
    exist. `count` sums up refusals of one kind."""

    asked: Asked
    permission: Asked = ""
    tenant_claimed: Asked = ""
    count: Annotated[int, Field(ge=1)] = 1
