"""Who asks is proved before a body is read: routes of a router with this class have a `Caller`, or answer 401."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from jobledger.application.authentication import unauthenticated
from jobledger.application.message import Actor
from jobledger.domain.errors import IssuerUnavailable, LedgerError, Unauthenticated
from jobledger.domain.identity import Identity

from .problem_documents import ApiError
from .query_names import list_names, query_names, require_known
from .services import Caller, services_of

bearer = HTTPBearer(
    auto_error=False, scheme_name="bearer",
    description="An API key (`jl_<id>.<secret>`) or, where the installation trusts an issuer, a JWT.",
)  # fmt: skip
"""For the OpenAPI document; the work is done in `AuthenticatedRoute`."""

ON_BEHALF_OF = "jobledger-on-behalf-of"
_CREDENTIAL_LENGTH_MAX = 16_384

Handle = Callable[[Request], Coroutine[Any, Any, Response]]


class AuthenticatedRoute(APIRoute):
    """A route that proves who asks, then goes on."""

    def get_route_handler(self) -> Handle:
        """The handler, with the proof in front."""
        handle = self.endpoint_handler()
        known, lists = query_names(self.dependant), list_names(self.dependant)

        async def authenticated(request: Request) -> Response:
            request.state.caller = await authenticate(request)
            if request.scope["query_string"]:
                require_known((name for name, _ in request.query_params.multi_items()), known, lists)
            return await handle(request)

        return authenticated

    def endpoint_handler(self) -> Handle:
        """What reads the request's parts for the endpoint, and makes its answer a response."""
        return super().get_route_handler()


class DirectRoute(AuthenticatedRoute):
    """A route whose endpoint reads its request itself: nothing is looked for in it before. That saves a tenth."""

    def endpoint_handler(self) -> Handle:
        """The endpoint itself."""
        endpoint: Handle = self.endpoint
        return endpoint


async def authenticate(request: Request) -> Caller:
    """Who asks. Raises `Unauthenticated`, or the error of status 429: too many that proved nothing came from there, or
    too many requests of one identity."""
    services = services_of(request)
    address = address_of(request)
    credential = ""
    try:
        credential = _credential(request)
        identity = services.authenticator.at_once(credential, address=address)
        if identity is None:  # the ledger or the issuer has to be asked
            if services.failures.has_to_renew(credential, address):
                await run_in_threadpool(services.failures.renew)
            services.failures.require_room(credential, address)
            identity = await run_in_threadpool(services.authenticator.authenticate, credential, address=address)
            services.failures.proved(credential)
    except Unauthenticated:
        services.failures.failed(credential, address)
        raise
    services.rates.take(identity.id)
    actor = Actor(
        id=identity.id, address=address, request_id=request.state.request_id, on_behalf_of=_on_behalf_of(request)
    )
    return Caller(services, services.authorization.of(identity), actor, request.state.trace_parent)


async def is_still_proved(request: Request, identity: Identity) -> bool:
    """Whether the credential of a request that goes on for long proves the same as when it began. While that cannot be
    found out, it does."""
    authenticator, credential, address = services_of(request).authenticator, _credential(request), address_of(request)
    try:
        found = authenticator.at_once(credential, address=address)
        if found is None:
            found = await run_in_threadpool(authenticator.authenticate, credential, address=address)
    except Unauthenticated:
        return False
    except (LedgerError, IssuerUnavailable):
        return True
    return found == identity


def address_of(request: Request) -> str | None:
    """Where the request came from; None over a Unix socket."""
    return request.client.host[:100] if request.client and request.client.host else None


def _credential(request: Request) -> str:
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not 0 < len(credential.strip()) <= _CREDENTIAL_LENGTH_MAX:
        raise unauthenticated()
    return credential.strip()


def _on_behalf_of(request: Request) -> str | None:
    text = request.headers.get(ON_BEHALF_OF)
    if text is not None and not (0 < len(text) <= 200 and text.isprintable()):
        raise ApiError(
            "invalid_input", "nobody can be named like that", field="header.Jobledger-On-Behalf-Of",
            rule="1 to 200 printable characters",
        )  # fmt: skip
    return text
