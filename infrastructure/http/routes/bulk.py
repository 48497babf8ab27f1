"""Many jobs in one request: JSON Lines in, and an answer for each line as soon as its job is durable.

Lines are taken as they come and answered as they are settled, at the same time: who first sends all and then reads, and
who reads while sending, are served alike. What is answered and not read yet waits in a file, so that neither side keeps
the other waiting.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog
from fastapi import APIRouter, Request, Security
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jobledger.application.authentication import unauthenticated
from jobledger.application.commands import DispatchJob, DispatchJobs, ItemResult
from jobledger.application.dispatch_item import Dispatch, Malformed
from jobledger.application.dispatching import CHUNK
from jobledger.application.result import Refused
from jobledger.application.validation import invalid_input
from jobledger.domain.errors import InvalidInput, JobledgerError, PayloadTooLarge, Refusal
from jobledger.domain.identity import Permission
from jobledger.domain.tenant import TenantName

from ...api import jobs as api
from ...api.bulk import MEDIA_TYPE, MEDIA_TYPES, BulkAccepted, BulkRefused, BulkSummary
from ...api.problems import Problem
from ..authentication import AuthenticatedRoute, bearer, is_still_proved
from ..documented import problems
from ..json_lines import Line, Spool, batches
from ..problem_documents import ApiError, make_problem, problem_of, unavailable
from ..problems import answer
from ..services import Caller, Calling
from .jobs import dispatch_of

router = APIRouter(
    prefix="/v1/tenants/{tenant}/jobs", tags=["jobs"], route_class=AuthenticatedRoute,
    dependencies=[Security(bearer)],
)  # fmt: skip

_log = structlog.get_logger("jobledger.http")

_EXAMPLE = """\
{"type": "invoice.send", "payload": {"invoice_id": "42", "email": "a@b.example"}}
{"type": "invoice.send", "payload": {"invoice_id": "43", "email": "c@d.example"}, "priority": 10}
"""
_BODY = {
    "required": True, "description": "A dispatch a line.",
    "content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": _EXAMPLE}},
}  # fmt: skip
_ANSWER = {
    "description": "A line for each (empty ones aside), in order, as soon as it is settled; the last line sums up: "
    f"`{BulkAccepted.__name__}`, `{BulkRefused.__name__}`, `{BulkSummary.__name__}`.",
    "content": {
        MEDIA_TYPE: {
            "schema": {"type": "string"},
            "example": '{"line":1,"job_id":"0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f","duplicate":false,'
            '"position":"5f0c.8192"}\n'
            '{"summary":{"accepted":1,"duplicates":0,"refused":0,"position":"5f0c.8192","problem":null}}\n',
        }
    },
}  # fmt: skip


@router.post(
    "/bulk", operation_id="dispatch_jobs", summary="Dispatch many jobs", response_class=Response,
    openapi_extra={"requestBody": _BODY}, responses={200: _ANSWER, **problems(409, 415)},
)  # fmt: skip
async def dispatch_jobs(*, tenant: TenantName, request: Request, caller: Calling) -> Response:
    """Each line is accepted or refused on its own, and durable once it is answered. With idempotency keys, all of it
    can be sent again safely."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in MEDIA_TYPES:
        raise ApiError(
            "unsupported_media_type", "many jobs are sent as JSON Lines", field="header.Content-Type",
            rule=f"is {MEDIA_TYPE}",
        )  # fmt: skip
    await run_in_threadpool(_require_leave, caller, tenant)
    return BulkAnswer(BulkRequest(caller, tenant, request, partial(is_still_proved, request, caller.identity)))


def _require_leave(caller: Caller, tenant: str) -> None:
    """Who may dispatch nowhere is told so once, and not line by line."""
    try:
        caller.authorized.require_somewhere(Permission.DISPATCH, tenant)
    except Refusal as error:
        asked = DispatchJob(actor=caller.actor, trace_parent=caller.trace_parent, item=Dispatch("", tenant=tenant))
        caller.services.authorization.record(asked, getattr(error, "permission", Permission.DISPATCH.value))
        raise


class BulkRequest:
    """One request under way."""

    def __init__(self, caller: Caller, tenant: str, request: Request, is_proved: Callable[[], Awaitable[bool]]) -> None:
        """`is_proved` tells whether who asks may still do so: it is asked before each batch."""
        self._caller = caller
        self._is_proved = is_proved
        self._tenant = tenant
        self._request = request
        self._accepted = self._duplicates = self._refused = 0
        self._position: str | None = None
        self.problem: Problem | None = None
        """Why it broke off."""
        self.answers = Spool()

    @property
    def is_settled(self) -> bool:
        """Whether anything was answered."""
        return self._accepted + self._refused > 0

    async def carry_out(self) -> None:
        """Take all lines; then say how that ended."""
        bytes_max = self._caller.services.handle.settings.http_body_bytes_max
        try:
            async for lines in batches(self._request.stream(), bytes_max=bytes_max, lines_max=CHUNK):
                if not await self._is_proved():
                    raise unauthenticated()
                self.answers.write(await run_in_threadpool(self._dispatched, lines))
        except ClientDisconnect:
            return  # a last line without an end may be half a line
        except JobledgerError as error:
            _log.error("http.failed", code=error.code, error=str(error), path=self._request.url.path)
            self.problem = problem_of(error, self._request.state.request_id)
        except Exception as error:  # noqa: BLE001 - half of the answer is gone: the other half says so
            _log.error("http.failed", code="internal_error", path=self._request.url.path, exc_info=error)
            self.problem = make_problem("internal_error", 500, unavailable(500))
        finally:
            if self.is_settled or self.problem is None:
                self.answers.write(self._summary())
            self.answers.end()

    def _dispatched(self, lines: Sequence[Line]) -> bytes:
        items = [_item(self._tenant, line) for line in lines]
        found = self._caller.ask(DispatchJobs, items=items).value
        self._accepted += found.accepted
        self._duplicates += found.duplicates
        self._refused += found.refused
        self._position = found.position or self._position
        return b"".join(_answer_line(result) for result in found.results)

    def _summary(self) -> bytes:
        problem = None if self.problem is None else self.problem.model_dump(exclude_none=True)
        counts = {"accepted": self._accepted, "duplicates": self._duplicates, "refused": self._refused}
        return _json_line({"summary": {**counts, "position": self._position, "problem": problem}})


class BulkAnswer(Response):
    """Reads and answers at the same time. What fails before anything was settled is a problem, with its status."""

    def __init__(self, bulk: BulkRequest) -> None:
        super().__init__(media_type=MEDIA_TYPE)
        del self.headers["content-length"]
        self._bulk = bulk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        carrying_out = asyncio.create_task(self._bulk.carry_out())
        try:
            await self._bulk.answers.begun()
            problem = self._bulk.problem
            if problem is not None and not self._bulk.is_settled:
                await answer(problem)(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for piece in self._bulk.answers.pieces():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            carrying_out.cancel()
            await asyncio.wait((carrying_out,))
            self._bulk.answers.close()


def _item(tenant: str, line: Line) -> Dispatch | Malformed:
    """What a line asks for; what is wrong with it is an answer to it, and recorded as every refusal."""
    try:
        if line.text is None:
            raise PayloadTooLarge("the line is too long", field="line", rule="a line is bounded as a body is")
        body = api.DispatchRequest.model_validate_json(line.text)
        return dispatch_of(tenant, body, line.text)._replace(line=line.number)
    except ValidationError as error:
        return Malformed(line.number, _why(error), tenant)
    except Refusal as error:
        return Malformed(line.number, error, tenant)


def _why(error: ValidationError) -> InvalidInput:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    if first["type"] == "json_invalid" or not first["loc"]:
        return InvalidInput("the line is no JSON object", field="line", rule="is a JSON object in UTF-8")
    return invalid_input(error)


def _answer_line(item: ItemResult) -> bytes:
    if isinstance(item.result, Refused):
        return _json_line({"line": item.line, "problem": problem_of(item.result.error).model_dump(exclude_none=True)})
    job_id, position, duplicate = item.result.value
    return _json_line({"line": item.line, "job_id": str(job_id), "duplicate": duplicate, "position": position})


def _json_line(shape: dict[str, object]) -> bytes:
    return json.dumps(shape, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
