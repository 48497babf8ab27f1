"""What went wrong, told to people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol, runtime_checkable
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from jobledger.domain.errors import JobledgerError, LedgerError, NotPermitted

from .rendering import page
from .services import SignInNeeded

_log = structlog.get_logger("jobledger.console")

STATUS: Final[Mapping[str, int]] = {
    "invalid_input": 422, "reason_required": 422, "payload_too_large": 413, "not_permitted": 403,
    "unknown_tenant": 404, "not_found": 404, "illegal_transition": 409, "count_changed": 409,
    "not_confirmed": 409, "version_conflict": 409, "tenant_suspended": 409, "not_yet_visible": 504,
    "too_many_requests": 429,
}  # fmt: skip
"""By the error's code. What is missing is the server's trouble: 503 where trying again may help, else 500."""

_TITLES = {
    400: "That cannot be read", 403: "You may not do that", 404: "There is no such thing",
    405: "That cannot be done here", 409: "As things stand that cannot be done", 413: "That is too much",
    422: "Something does not fit", 429: "Too much at once", 503: "The ledger does not answer",
    504: "Not visible yet",
}  # fmt: skip


@runtime_checkable
class OfTheServer(Protocol):
    """An error of what serves pages, such as too many requests: it has its code, and headers, by instance."""

    error_code: str
    headers: dict[str, str]


class Told(NamedTuple):
    """An error in words for a page."""

    status: int
    title: str
    message: str
    advice: str = ""
    headers: Mapping[str, str] = {}


def install(app: FastAPI) -> None:
    """Answer every error with a page."""
    app.add_exception_handler(SignInNeeded, _sign_in)
    app.add_exception_handler(JobledgerError, _of_ours)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_anything)


def told(error: JobledgerError) -> Told:
    """What a page says of an error."""
    code = error.error_code if isinstance(error, OfTheServer) else error.code
    status = STATUS.get(code, 503 if isinstance(error, LedgerError) else 500)
    title = _TITLES.get(status, "Something went wrong here")
    if isinstance(error, NotPermitted):
        advice = "Who administers the keys of this installation can grant it. Nothing was changed."
        return Told(status, title, f"This needs the permission {error.permission}, which you do not have.", advice)
    if error.code == "unknown_tenant":
        return Told(status, "There is no such tenant", "It does not exist, or you have no access to it.")
    if error.code == "not_found":
        thing = "act on dead letters" if error.field == "act" else "job"
        return Told(status, f"There is no such {thing}", "It does not exist, or you have no access to it.")
    if error.code == "not_yet_visible":
        return Told(status, title, "The lists have not caught up with the ledger.", "Load the page again.")
    if status >= 500:
        return Told(status, title, "It was logged.", "Load the page again in a moment.")
    if isinstance(error, OfTheServer) and status == 429:
        retry_after = {"Retry-After": error.headers.get("Retry-After", "1")}
        advice = f"Nothing was done. Try again in {retry_after['Retry-After']} s."
        return Told(status, title, sentence(error), advice, retry_after)
    return Told(status, title, sentence(error))


def sentence(error: JobledgerError) -> str:
    """A refusal in a sentence."""
    if error.code == "reason_required":
        return "Say why: what is done by hand is recorded with its reason."
    text = f"{error.field}: {error.message}" if error.field and error.code == "invalid_input" else error.message
    return f"{text[:1].upper()}{text[1:]}."


def answer(request: Request, shown: Told) -> Response:
    """The page that says so. A part of a page that was asked for is left as it is where trying again may help; else the
    whole page asks, and says so."""
    if "hx-request" in request.headers:
        again = shown.status >= 500 or shown.status == 429
        return Response(status_code=shown.status) if again else _whole_page()
    request_id: str | None = getattr(request.state, "request_id", None)
    answered = page(request, "error.html", shown.status, told=shown, request_id=request_id)
    answered.headers.update(shown.headers)
    return answered


def _whole_page() -> Response:
    return Response(status_code=200, headers={"HX-Refresh": "true", "HX-Reswap": "none"})


async def _sign_in(request: Request, error: Exception) -> Response:
    if "hx-request" in request.headers:  # the whole page asks, then
        return _whole_page()
    if request.method != "GET":
        return RedirectResponse("/login", 303)
    if request.headers.get("sec-fetch-site") == "cross-site":
        # a link elsewhere led here, and cookies stay away from such: ask once more, from here
        return page(request, "from_elsewhere.html", target=request.url.path)
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse("/login" if wanted == "/" else f"/login?next={quote(wanted, safe='')}", 303)


async def _of_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, JobledgerError)
    shown = told(error)
    if shown.status >= 500:
        _log.error("console.failed", code=error.code, error=str(error), path=request.url.path)
    return answer(request, shown)


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = _TITLES.get(error.status_code, "That did not work")
    message = "No page has this address." if error.status_code == 404 else str(error.detail)
    return answer(request, Told(error.status_code, title, message))


async def _of_anything(request: Request, error: Exception) -> Response:
    _log.error("console.failed", code="internal_error", path=request.url.path, exc_info=error)
    return answer(request, Told(500, "Something went wrong here", "It was logged."))
