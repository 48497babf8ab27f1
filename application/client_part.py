"""What the parts of the client (`ledger.jobs`, `ledger.limits` ...) have in common."""

from __future__ import annotations

from typing import TypeVar

from jobledger.domain.errors import InvalidInput

from .dispatcher import Dispatcher
from .message import Actor, Message

R = TypeVar("R")


class ClientPart:
    """Sends messages as one actor, for a tenant of its own unless another is named."""

    def __init__(self, dispatcher: Dispatcher, actor: Actor, tenant: str | None) -> None:
        self._dispatcher = dispatcher
        self._actor = actor
        self._tenant = tenant

    def _ask(self, message_type: type[Message[R]], /, **fields: object) -> R:
        said = {name: value for name, value in fields.items() if value is not None}
        return self._dispatcher.send(message_type, actor=self._actor, **said).unwrap()

    def _tenant_or(self, tenant: str | None) -> str:
        chosen = tenant or self._tenant
        if chosen is None:
            raise InvalidInput(
                "whose job?", field="tenant", rule="is given", hint="pass tenant=..., or use ledger.of(tenant)"
            )
        return chosen
