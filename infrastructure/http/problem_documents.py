"""Which problem an error is: one table says which status it has, one function what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from jobledger.domain.errors import JobledgerError, LedgerBusy, LedgerError

from ..api.problems import TYPE_PREFIX, Problem

STATUS: Final[Mapping[str, int]] = {
    "invalid_input": 422, "reason_required": 422, "unknown_job_type": 422, "non_conforming_type": 422,
    "payload_too_large": 413, "malformed": 400, "unauthenticated": 401, "not_permitted": 403, "unknown_tenant": 404,
    "not_found": 404, "protected_tenant": 403, "tenant_suspended": 409, "illegal_transition": 409,
    "tenant_exists": 409, "idempotency_conflict": 409, "lease_lost": 409, "count_changed": 409, "not_confirmed": 409,
    "rebuild_under_way": 409, "version_conflict": 412, "precondition_required": 428, "too_many_requests": 429,
    "not_yet_visible": 504, "unsupported_media_type": 415, "not_acceptable": 406, "method_not_allowed": 405,
    "issuer_unavailable": 503, "interrupted": 409, "given_up": 409, "login_refused": 503, "sessions_needed": 503,
}  # fmt: skip
"""By the error's code. What is missing is the server's trouble: 503 where trying again may help, else 500."""

_CALLED: Final = {"job": "job_id", "job_type": "type", "due_at": "run_at", "confirmed": "expected_count",
                  "recorded_from": "from", "recorded_to": "to", "act": "operation_id"}  # fmt: skip
"""Fields of messages, as routes call them."""
_NO_TENANT: Final = "it does not exist, or this key or token has no grant for it: GET /v1/tenants says which it has"
"""Of every tenant that somebody may not know of, and of those that are not there: nobody learns which it is."""
_BUSY: Final = "the ledger is busy, and nothing was written; try again"
_QUERIED: Final = {"types": "topic", "by": "actor"}
"""Those of queries, where the query has them."""
_HEADERS: Final = {"expected_version": "header.If-Match"}


class ApiError(JobledgerError):
    """What only HTTP can get wrong: a precondition, a media type, a rate. `code` and status by instance."""

    def __init__(
        self, code: str, message: str, *, field: str | None = None, rule: str | None = None, hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message, field=field, rule=rule, hint=hint)
        self.error_code = code
        self.headers = dict(headers or {})


def problem_of(error: JobledgerError, request_id: str | None = None) -> Problem:
    """The problem that an error is."""
    code = error.error_code if isinstance(error, ApiError) else error.code
    status = STATUS.get(code, 503 if isinstance(error, LedgerError) else 500)
    if status >= 500 and code not in {"not_yet_visible", "issuer_unavailable"} and not isinstance(error, ApiError):
        return make_problem(
            code, status, _BUSY if code == LedgerBusy.code else unavailable(status), request_id=request_id
        )
    hint = _NO_TENANT if code == "unknown_tenant" else error.hint
    return make_problem(
        code, status, error.message, field=error.field, rule=error.rule, hint=hint, request_id=request_id
    )  # fmt: skip


def named_place(field: str | None, *, path: Mapping[str, object], query: Mapping[str, object]) -> str | None:
    """A refusal names the field of a message; what came with the path, the query or a header is named by that."""
    if field is None:
        return None
    name, dot, rest = field.partition(".")
    name = _CALLED.get(name, name)
    if _QUERIED.get(name) in query:
        return f"query.{_QUERIED[name]}"
    for place, known in (("path", path), ("query", query)):
        if name in known:
            return f"{place}.{name}"
    return _HEADERS.get(name, f"{name}{dot}{rest}")


def unavailable(status: int) -> str:
    """What a caller learns of the server's own trouble; the log has the rest."""
    return "the ledger does not answer; try again" if status == 503 else "something went wrong here; it was logged"


def no_such_route(request_id: str | None = None) -> Problem:
    """What is told of a path that the API has not."""
    return make_problem(
        "not_found", 404, "there is no such route", rule="is a path of the API",
        hint="all routes stand in /v1/openapi.json", request_id=request_id,
    )  # fmt: skip


def make_problem(
    code: str, status: int, detail: str, *, field: str | None = None, rule: str | None = None, hint: str | None = None,
    request_id: str | None = None,
) -> Problem:  # fmt: skip
    """A problem document."""
    return Problem(
        type=TYPE_PREFIX + code.replace("_", "-"), title=code.replace("_", " ").capitalize(), status=status,
        detail=detail, code=code, field=field, rule=rule, hint=hint, request_id=request_id,
    )  # fmt: skip
