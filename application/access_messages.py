"""What is recorded of those who asked for something: who was refused, and who was allowed what left no other record."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .message import NO_NUL, Command

Asked = Annotated[str, Field(pattern=NO_NUL, max_length=200)]


class RecordAccess(Command[str]):
    """Record that somebody asked; answers with the event's id. `tenant_claimed` is what was asked for: it may not
    exist. `count` sums up what is of one kind."""

    asked: Asked
    permission: Asked = ""
    tenant_claimed: Asked = ""
    count: Annotated[int, Field(ge=1)] = 1


class RecordRefusedAccess(RecordAccess):
    """Record that somebody was refused."""


class RecordAllowedAccess(RecordAccess):
    """Record that somebody was allowed what nothing else tells of. `outcome` is the code of why nothing was changed,
    `duplicate`, or empty where something was read."""

    outcome: Asked = ""
