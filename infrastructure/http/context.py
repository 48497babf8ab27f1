"""What surrounds every request: its id, its trace, how large its body may be, and headers that every answer has."""

from __future__ import annotations

import random
import re
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..metrics.requests import RequestTally
from .json_lines import are_json_lines
from .problem_documents import ApiError, problem_of
from .problems import answer
from .unreadable import encoding_error

REQUEST_ID = "X-Request-Id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
_GZIP_BYTES_MIN = 1_024
_TRACE_PARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_MANY = re.compile(r"/v1/tenants/[^/]+/jobs/bulk")
_WITH_DATA = re.compile(
    r"/v1/tenants/[^/]+/jobs(/bulk|/[^/]+/requeue|/[^/]+/attempts/[^/]+/(complete|fail|log|progress|step))?"
    r"|/v1/job-types|/tenants/[^/]+/jobs/[^/]+/edit"
)
"""Where bodies hold payloads, results, logs or schemas: they may be as large as the settings say."""
OTHER_BYTES_MAX = 1_000_000
"""That others have at most."""

_log = structlog.get_logger("jobledger.http")


class RequestContext:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp, *, body_bytes_max: int, requests: RequestTally) -> None:
        self._app = app
        self._requests = requests
        self._compressing = GZipMiddleware(app, minimum_size=_GZIP_BYTES_MIN)
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry a request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["trace_parent"] = _trace_parent(headers)
        began = time.monotonic()
        status = 0

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answered = MutableHeaders(scope=message)
                answered[REQUEST_ID] = request_id
                answered.setdefault("X-Content-Type-Options", "nosniff")
                answered.setdefault("Cache-Control", "no-store")
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)  # of this request's task, which ends with it
        self._requests.begin()
        try:
            await self._bounded(scope, receive, told, headers)
        finally:
            seconds = time.monotonic() - began
            self._requests.end(scope["method"], getattr(scope.get("route"), "path", None), status, seconds)
            _log.debug(
                "http.request", method=scope["method"], path=scope["path"], status=status, seconds=round(seconds, 6)
            )

    async def _bounded(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        """Refuse a body that is too large: before it is read where its length is told, else while it is."""
        path, started = scope["path"], False
        limit = self._body_bytes_max if _WITH_DATA.fullmatch(path) else min(self._body_bytes_max, OTHER_BYTES_MAX)
        lines = are_json_lines(headers) and _MANY.fullmatch(path) is not None
        refusal = encoding_error(headers) if scope["method"] in _WITH_BODY else None
        if refusal is None and _told_length(headers) > limit and not lines:
            refusal = _too_large(limit)
        if refusal is not None:
            await answer(problem_of(refusal, scope["state"]["request_id"]))(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request" and not lines:
                received += len(message.get("body", b""))
                if received > limit:
                    raise _TooLarge(limit)
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        is_dispatch = scope["method"] == "POST" and path.endswith("/jobs")
        app = self._app if is_dispatch else self._compressing  # it is asked most, and its answer is small
        try:
            await app(scope, counted, watched)
        except _TooLarge:
            if started:
                raise
            await answer(problem_of(_too_large(limit), scope["state"]["request_id"]))(scope, receive, send)


class _TooLarge(HTTPException):
    """More was sent than may be. FastAPI takes any other error while it reads a body for one in what it says."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, _too_large(limit).message)


def _too_large(limit: int) -> ApiError:
    return ApiError(
        "payload_too_large", f"the body is larger than {limit:,} bytes", field="body", rule=f"at most {limit:,} bytes"
    )


def _told_length(headers: Headers) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _request_id(headers: Headers) -> str:
    given = headers.get(REQUEST_ID, "")
    return given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"


def _trace_parent(headers: Headers) -> str | None:
    """What W3C Trace Context says of one that is none: it is ignored."""
    given = headers.get("traceparent", "").strip()
    return given if _TRACE_PARENT.fullmatch(given) else None
