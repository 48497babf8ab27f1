"""What pages need of a running server, and who looks at them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, NamedTuple, Protocol, TypeVar
from uuid import UUID

from fastapi import Depends, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from jobledger.application.authorization import Authorization, Authorized
from jobledger.application.message import Actor, Message
from jobledger.application.ports import Clock
from jobledger.application.result import Accepted
from jobledger.domain.identity import Permission

from ..asking import accepted, message_of
from .sessions import COOKIE, LoginLinks, Session, Sessions

R = TypeVar("R")

FIELDS_MAX = 50


class Rates(Protocol):
    """How often one identity may ask, of the API and of pages together."""

    def take(self, name: str, /) -> None:
        """Count a request; raises what is told where it is one too many."""
        ...


class Failures(Protocol):
    """How often an address may fail to prove who asks; what is one too many is raised."""

    def has_to_renew(self, credential: str, address: str | None, /) -> bool:
        """Whether `renew` has to come first."""
        ...

    def renew(self) -> None:
        """Read which keys there are."""
        ...

    def require_room(self, credential: str, address: str | None, /) -> None:
        """Before a credential is looked up."""
        ...

    def failed(self, credential: str, address: str | None, /) -> None:
        """It proved nothing."""
        ...

    def proved(self, credential: str, /) -> None:
        """It is somebody's."""
        ...


class Doing(Protocol):
    """Something that goes on beside requests, or has ended."""

    @property
    def done(self) -> int:
        """Steps so far."""
        ...

    @property
    def ended_at(self) -> datetime | None:
        """When it ended; None while it goes on."""
        ...

    @property
    def result(self) -> dict[str, Any] | None:
        """What came of it."""
        ...

    def known_as(self, operation_id: str, /) -> None:
        """The ledger knows of it, under this id."""
        ...

    def report(self, done: int, total: int | None, /) -> None:
        """It has come so far. Raises where it is not to go on."""
        ...


class Operations(Protocol):
    """What goes on at this server beside requests."""

    def start(
        self, kind: str, *, tenant: str, actor: str, reason: str, total: int,
        work: Callable[[Doing], dict[str, Any]], request_id: str | None,
    ) -> str:  # fmt: skip
        """Begin something of so many steps; its id, once the ledger knows of it. Raises what kept it from that."""
        ...

    def get(self, tenant: str | None, operation_id: str, /) -> Doing | None:
        """What this server knows of it."""
        ...


class Live(Protocol):
    """What happens to jobs, as it is recorded."""

    def stream(
        self, tenant: str, *, job_id: UUID | None = None, job_type: str | None = None, persona: str | None = None,
        queues: frozenset[str] | None = None, last: str | None, name: str, is_known: Callable[[], Awaitable[bool]],
    ) -> Response:  # fmt: skip
        """Server-sent events: after the id `last` that was received, or from now on, as long as `is_known` says so.
        Counted as a stream of the identity `name`: one too many is refused when it is sent."""
        ...


class Bounds(NamedTuple):
    """What the server bounds, whoever asks it."""

    rates: Rates
    failures: Failures


@dataclass(frozen=True, slots=True)
class ConsoleServices:
    """Of one server; at `app.state.services`. `version` is that of the program."""

    authorization: Authorization
    sessions: Sessions
    links: LoginLinks
    operations: Operations
    live: Live
    bounds: Bounds
    clock: Clock
    version: str


class SignInNeeded(Exception):
    """Nobody is logged in."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks, in which request: messages are sent as its identity."""

    services: ConsoleServices
    session: Session
    authorized: Authorized
    actor: Actor
    trace_parent: str | None

    def ask(self, message_type: type[Message[R]], /, **fields: object) -> Accepted[R]:
        """Carry a message out; raises the refusal. Fields that are None are left to the message's defaults."""
        return accepted(self.authorized.execute(message_of(message_type, self.actor, self.trace_parent, fields)))

    def may(self, permission: Permission, tenant: str, queue: str | None = None) -> bool:
        """Whether a page has to offer something. Where it does, the answer is still the authorization's."""
        return self.session.identity.permits(permission, tenant, queue)


def services_of(request: Request) -> ConsoleServices:
    """The server's."""
    services: ConsoleServices = request.app.state.services
    return services


def session_of(request: Request) -> Session | None:
    """Who is logged in."""
    return services_of(request).sessions.find(request.cookies.get(COOKIE))


def address_of(request: Request) -> str | None:
    """Where the request came from; None over a Unix socket."""
    return request.client.host[:100] if request.client and request.client.host else None


def visitor_of(request: Request) -> Visitor:
    """Who looks. Raises `SignInNeeded`, and what is told where they ask too often."""
    services, session = services_of(request), session_of(request)
    if session is None:
        raise SignInNeeded
    services.bounds.rates.take(session.identity.id)
    state = request.state
    actor = Actor(
        id=session.identity.id, authenticated=session.authenticated, address=address_of(request),
        request_id=getattr(state, "request_id", None),
    )  # fmt: skip
    request.state.visitor = Visitor(
        services, session, services.authorization.of(session.identity), actor, getattr(state, "trace_parent", None)
    )
    visitor: Visitor = request.state.visitor
    return visitor


async def _form(request: Request) -> Callable[[str], str]:
    form: FormData = await request.form(max_files=0, max_fields=FIELDS_MAX)
    texts = {name: value for name, value in form.items() if isinstance(value, str)}
    return lambda name: texts.get(name, "").strip()


Looking = Annotated[Visitor, Depends(visitor_of)]
"""A route's parameter: who looks. Nobody: they are asked to log in."""

Sent = Annotated[Callable[[str], str], Depends(_form)]
"""A route's parameter: the fields of the form that was sent, by name; what is missing is empty."""
