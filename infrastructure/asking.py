"""Sending messages as an identity, for adapters that answer requests: the HTTP API, the console."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from jobledger.application.authorization import Authorized
from jobledger.application.message import Actor, Message
from jobledger.application.result import Accepted, Refused
from jobledger.application.validation import invalid_input

R = TypeVar("R")


def ask(
    authorized: Authorized,
    message_type: type[Message[R]],
    *,
    actor: Actor,
    trace_parent: str | None,
    fields: dict[str, object],
) -> Accepted[R]:
    """Carry a message out; raises the refusal. Fields that are None are left to the message's defaults."""
    given = {name: value for name, value in fields.items() if value is not None}
    about: dict[str, object] = {"actor": actor, "trace_parent": trace_parent}
    try:
        message = message_type.model_validate({**about, **given})
    except ValidationError as error:
        raise invalid_input(error) from error
    result = authorized.execute(message)
    if isinstance(result, Refused):
        raise result.error
    return result
