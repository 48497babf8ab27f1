"""Logging in, by an API key, a token or a link that works once, and out."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlencode

import structlog
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from jobledger.domain.errors import InvalidInput, IssuerUnavailable, Unauthenticated

from ..rendering import page
from ..services import Sent, address_of, services_of, session_of
from ..sessions import COOKIE, SESSION_SECONDS

router = APIRouter()

_log = structlog.get_logger("jobledger.console")


@router.get("/login")
def form(request: Request) -> Response:
    """Asks for an API key."""
    wanted = _own_place(request.query_params.get("next", ""))
    if session_of(request) is not None:
        return RedirectResponse(wanted, HTTPStatus.SEE_OTHER)
    return _form(request, wanted)


@router.post("/login")
def log_in(request: Request, sent: Sent) -> Response:
    """Begin a session of who has an API key, or a token where the installation takes any."""
    wanted, key, address = _own_place(sent("next")), sent("key"), address_of(request)
    services, failures = services_of(request), services_of(request).bounds.failures
    if failures.has_to_renew(key, address):
        failures.renew()
    failures.require_room(key, address)
    try:
        cookie = services.sessions.begin(key, address)
    except Unauthenticated:
        failures.failed(key, address)
        problem = "key" if services.sessions.issuer is None else "token"
        return _form(request, wanted, HTTPStatus.UNAUTHORIZED, problem)
    except IssuerUnavailable:
        return _form(request, wanted, HTTPStatus.SERVICE_UNAVAILABLE, "issuer")
    except InvalidInput:
        return _form(request, wanted, HTTPStatus.UNPROCESSABLE_ENTITY, "large")
    failures.proved(key)
    return _logged_in(request, cookie, wanted)


@router.get("/login/link")
def link(request: Request, token: str = "") -> Response:
    """What a link that works once opens: looking at it does not use it up, so that nobody's preview does."""
    good = services_of(request).links.is_good(token)
    status = HTTPStatus.OK if good else HTTPStatus.GONE
    return page(request, "link.html", status, token=token if good else None)


@router.post("/login/link")
def log_in_once(request: Request, sent: Sent) -> Response:
    """Begin a session of whom the link is for."""
    services = services_of(request)
    name = services.links.take(sent("token"))
    if name is None:
        return page(request, "link.html", HTTPStatus.GONE, token=None)
    return _logged_in(request, services.sessions.begin_as(name), "/")


@router.post("/logout")
def log_out(request: Request) -> Response:
    """End the session."""
    services_of(request).sessions.end(request.cookies.get(COOKIE))
    answer = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
    answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
    return answer


@router.get("/welcome")
def welcome(request: Request) -> Response:
    """Where a login leads first: says so where the browser did not keep the cookie, else goes on."""
    wanted = _own_place(request.query_params.get("next", ""))
    if session_of(request) is None:
        return _form(request, wanted, problem="cookie")
    return RedirectResponse(wanted, HTTPStatus.SEE_OTHER)


def _form(
    request: Request, wanted: str, status: HTTPStatus = HTTPStatus.OK, problem: str | None = None
) -> Response:  # fmt: skip
    issuer = services_of(request).sessions.issuer
    return page(request, "login.html", status, problem=problem, wanted=wanted, issuer=issuer)


def _logged_in(request: Request, cookie: str, wanted: str) -> Response:
    session = services_of(request).sessions.find(cookie)
    _log.info("console.logged_in", actor=session.identity.id if session else None, address=address_of(request))
    answer = RedirectResponse(f"/welcome?{urlencode({'next': wanted})}", HTTPStatus.SEE_OTHER)
    answer.set_cookie(COOKIE, cookie, max_age=SESSION_SECONDS, path="/", secure=True, httponly=True, samesite="strict")
    return answer


def _own_place(wanted: str) -> str:
    """Where to go after a login: a page of ours, whatever the address says."""
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\", "/login", "/welcome"))
    return wanted if is_ours and wanted.isprintable() else "/"
