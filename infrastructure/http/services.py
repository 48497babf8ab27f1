"""What routes need of a running server, and who calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from jobledger.application.authentication import Authenticator, unauthenticated
from jobledger.application.authorization import Authorization, Authorized
from jobledger.application.message import Actor, Message
from jobledger.application.positions import Positions
from jobledger.application.result import Accepted
from jobledger.domain.identity import Identity

from ..asking import accepted, message_of
from ..bootstrap import LedgerHandle
from ..metrics.requests import RequestTally
from ..shapes.jobs import Shape
from ..shapes.positions import positioned
from .cursors import Cursors
from .feed import EventFeed
from .operations import Operations
from .rates import FailedProofs, Rates, Streams
from .waiting import Waiting

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Services:
    """Of one server; at `app.state.services`."""

    handle: LedgerHandle
    authorization: Authorization
    authenticator: Authenticator
    cursors: Cursors
    rates: Rates
    waiting: Waiting
    feed: EventFeed
    operations: Operations
    streams: Streams
    failures: FailedProofs
    positions: Positions
    requests: RequestTally = field(default_factory=RequestTally)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, in which request: messages are sent as its identity."""

    services: Services
    authorized: Authorized
    actor: Actor
    trace_parent: str | None

    @property
    def identity(self) -> Identity:
        """Who it is."""
        return self.authorized.identity

    def ask(self, message_type: type[Message[R]], /, **fields: object) -> Accepted[R]:
        """Carry a message out; raises the refusal. Fields that are None are left to the message's defaults."""
        return accepted(self.authorized.execute(self._message(message_type, fields)))

    async def ask_async(self, message_type: type[Message[R]], /, **fields: object) -> Accepted[R]:
        """The same from an event loop, which goes on meanwhile."""
        message = self._message(message_type, fields)
        allowed = self.authorized.at_once(message)
        if allowed is None:
            return accepted(await run_in_threadpool(self.authorized.execute, message))
        return accepted(await self.authorized.execute_async(allowed))

    def told(self, shape: Shape) -> Shape:
        """An answer, its positions as `after` takes them."""
        return positioned(shape, self.services.positions.text)

    def _message(self, message_type: type[Message[R]], fields: Mapping[str, object]) -> Message[R]:
        return message_of(message_type, self.actor, self.trace_parent, fields)


def services_of(request: Request) -> Services:
    """The server's."""
    services: Services = request.app.state.services
    return services


def caller_of(request: Request) -> Caller:
    """Who asks; proved before the body was read (see `authentication.py`)."""
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None:
        raise unauthenticated()
    return caller


async def _caller(request: Request) -> Caller:
    return caller_of(request)


Calling = Annotated[Caller, Depends(_caller)]
"""A route's parameter: who calls it."""


def state_of(request: Request) -> Any:  # noqa: ANN401 - starlette's bag of attributes
    """What the middlewares said about the request."""
    return request.state
