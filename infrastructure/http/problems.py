"""Every error as a problem document (RFC 9457): one table says which status an error has."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from jobledger.domain.errors import JobledgerError, LedgerError

from ..api.problems import MEDIA_TYPE, TYPE_PREFIX, Problem

_log = structlog.get_logger("jobledger.http")

RETRY_AFTER_SECONDS = 1

STATUS: Final[Mapping[str, int]] = {
    "invalid_input": 422, "reason_required": 422, "unknown_job_type": 422, "non_conforming_type": 422,
    "payload_too_large": 413, "malformed": 400, "unauthenticated": 401, "not_permitted": 403, "unknown_tenant": 404,
    "not_found": 404, "protected_tenant": 403, "tenant_suspended": 409, "illegal_transition": 409,
    "tenant_exists": 409, "idempotency_conflict": 409, "lease_lost": 409, "count_changed": 409, "not_confirmed": 409,
    "rebuild_under_way": 409, "version_conflict": 412, "precondition_required": 428, "too_many_requests": 429,
    "not_yet_visible": 504, "unsupported_media_type": 415, "not_acceptable": 406, "method_not_allowed": 405,
    "issuer_unavailable": 503,
}  # fmt: skip
"""By the error's code. What is missing is the server's trouble: 503 where trying again may help, else 500."""


class ApiError(JobledgerError):
    """What only HTTP can get wrong: a precondition, a media type, a rate. `code` and status by instance."""

    def __init__(
        self, code: str, message: str, *, field: str | None = None, rule: str | None = None, hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message, field=field, rule=rule, hint=hint)
        self.error_code = code
        self.headers = dict(headers or {})


def install(app: FastAPI) -> None:
    """Answer every error with a problem."""
    app.add_exception_handler(JobledgerError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_anything)


def problem_of(error: JobledgerError, request_id: str | None = None) -> Problem:
    """The problem that an error is."""
    code = error.error_code if isinstance(error, ApiError) else error.code
    status = STATUS.get(code, 503 if isinstance(error, LedgerError) else 500)
    if status >= 500 and code not in {"not_yet_visible", "issuer_unavailable"}:
        return _problem(code, status, _unavailable(status), request_id=request_id)
    return _problem(
        code, status, error.message, field=error.field, rule=error.rule, hint=error.hint, request_id=request_id
    )


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
    if problem.status >= 500:
        _log.error("http.failed", code=problem.code, error=str(error), path=request.url.path)
    return answer(problem, error.headers if isinstance(error, ApiError) else None)


async def _of_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        problem = _problem("malformed", 400, "the body is not JSON", field="body", rule="is JSON in UTF-8")
    else:
        problem = _problem("invalid_input", 422, _said(first), field=_place(first["loc"]), rule=str(first["type"]))
    problem.request_id = request_id_of(request)
    return answer(problem)


async def _of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed", 400: "malformed", 413: "payload_too_large"}
    code = codes.get(error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"))
    problem = _problem(code, error.status_code, str(error.detail), request_id=request_id_of(request))
    return answer(problem, error.headers)


async def _of_anything(request: Request, error: Exception) -> JSONResponse:
    _log.error("http.failed", code="internal_error", path=request.url.path, exc_info=error)
    return answer(_problem("internal_error", 500, _unavailable(500), request_id=request_id_of(request)))


def _unavailable(status: int) -> str:
    """What a caller learns of the server's own trouble; the log has the rest."""
    return "the ledger does not answer; try again" if status == 503 else "something went wrong here; it was logged"


def _problem(
    code: str, status: int, detail: str, *, field: str | None = None, rule: str | None = None, hint: str | None = None,
    request_id: str | None = None,
) -> Problem:  # fmt: skip
    return Problem(
        type=TYPE_PREFIX + code.replace("_", "-"), title=code.replace("_", " ").capitalize(), status=status,
        detail=detail, code=code, field=field, rule=rule, hint=hint, request_id=request_id,
    )  # fmt: skip


def _place(location: tuple[Any, ...]) -> str:
    """`query.limit`, `path.tenant`, `header.If-Match`; within the body `payload.number`, as refusals name it."""
    parts = [str(part) for part in location]
    if parts and parts[0] == "body":
        return ".".join(parts[1:]) or "body"
    return ".".join(parts)


def _said(error: Mapping[str, Any]) -> str:
    """What pydantic says, without the value: it may be somebody's data."""
    return str(error["msg"])
