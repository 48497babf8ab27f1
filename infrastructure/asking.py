"""Messages of those who ask over a network: made of what they sent, and answered; for the HTTP API and the console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError

from jobledger.application.message import Actor, Message
from jobledger.application.result import Accepted, Refused, Result
from jobledger.application.validation import invalid_input

R = TypeVar("R")


def message_of(
    message_type: type[Message[R]], actor: Actor, trace_parent: str | None, fields: Mapping[str, object]
) -> Message[R]:
    """The message; fields that are None are left to its defaults. Raises `InvalidInput`."""
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return message_type.model_validate({"actor": actor, "trace_parent": trace_parent, **given})
    except ValidationError as error:
        raise invalid_input(error) from error


def accepted(result: Result[R]) -> Accepted[R]:
    """What was accepted; raises the refusal."""
    if isinstance(result, Refused):
        raise result.error
    return result
