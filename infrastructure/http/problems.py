"""Every error is answered with a problem document (RFC 9457)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from jobledger.application.rules import plain_rule
from jobledger.domain.errors import JobledgerError

from ..api.problems import MEDIA_TYPE, Problem
from .problem_documents import ApiError, make_problem, named_place, no_such_route, problem_of, unavailable
from .unreadable import cause_of, parser_error

_log = structlog.get_logger("jobledger.http")

RETRY_AFTER_SECONDS = 1


def install(app: FastAPI) -> None:
    """Answer every error with a problem."""
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)


async def answered(request: Request, error: Exception) -> JSONResponse:
    """The same, for who answers past the application."""
    handler = next(_HANDLERS[kind] for kind in type(error).__mro__ if kind in _HANDLERS)
    return await handler(request, error)


def answer(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response that says so."""
    all_headers = dict(headers or {})
    if problem.status == 401:
        all_headers.setdefault("WWW-Authenticate", 'Bearer realm="jobledger"')
    if problem.status in (429, 503):
        all_headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    content = problem.model_dump(mode="json", exclude_none=True)
    return JSONResponse(content, problem.status, all_headers, media_type=MEDIA_TYPE)


def request_id_of(request: Request) -> str | None:
    """The id that the middleware gave the request."""
    return getattr(request.state, "request_id", None)


async def _of_ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, JobledgerError)
    problem = problem_of(error, request_id_of(request))
    problem.field = named_place(problem.field, path=request.path_params, query=request.query_params)
    if problem.status >= 500:
        _log.error("http.failed", code=problem.code, error=str(error), path=request.url.path)
    return answer(problem, error.headers if isinstance(error, ApiError) else None)


async def _of_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        problem = make_problem("malformed", 400, parser_error(first), field="body", rule="is JSON in UTF-8")
    else:
        problem = make_problem("invalid_input", 422, _said(first), field=_place(first["loc"]), rule=plain_rule(first))
    problem.request_id = request_id_of(request)
    return answer(problem)


async def _of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return answer(no_such_route(request_id_of(request)), error.headers)
    codes = {404: "not_found", 405: "method_not_allowed", 400: "malformed", 413: "payload_too_large"}
    code = codes.get(error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"))
    field = "body" if error.status_code in {400, 413} else None
    detail = cause_of(error) if error.status_code == 400 and error.__cause__ else str(error.detail)
    problem = make_problem(code, error.status_code, detail, field=field, request_id=request_id_of(request))
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
    return answer(problem, headers)


def _allowed(request: Request) -> str:
    """The methods of all routes with that path: the router looks at the first only."""
    matching = (
        route.methods or () for route in request.app.router.routes
        if isinstance(route, APIRoute) and route.matches(request.scope)[0] is not Match.NONE
    )  # fmt: skip
    return ", ".join(sorted(set[str]().union(*matching)))


async def _of_gone(request: Request, _error: Exception) -> JSONResponse:
    """Whoever asked left before his request was whole, or was cut: nobody hears this."""
    return answer(make_problem("malformed", 400, "the body broke off", field="body", request_id=request_id_of(request)))


async def _of_anything(request: Request, error: Exception) -> JSONResponse:
    _log.error("http.failed", code="internal_error", path=request.url.path, exc_info=error)
    return answer(make_problem("internal_error", 500, unavailable(500), request_id=request_id_of(request)))


_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[JSONResponse]]] = {
    JobledgerError: _of_ours,
    RequestValidationError: _of_validation,
    HTTPException: _of_http,
    ClientDisconnect: _of_gone,
    Exception: _of_anything,
}


def _place(location: tuple[Any, ...]) -> str:
    """`query.limit`, `path.tenant`, `header.If-Match`; within the body `payload.number`, as refusals name it."""
    parts = [str(part) for part in location]
    if parts and parts[0] == "body":
        return ".".join(parts[1:]) or "body"
    return ".".join(parts)


def _said(error: Mapping[str, Any]) -> str:
    """What pydantic says, without the value: it may be somebody's data."""
    return str(error["msg"])
