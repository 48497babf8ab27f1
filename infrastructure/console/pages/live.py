"""What happens to jobs, told to a page while somebody sees it: it looks again at what it shows."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from jobledger.application.queries import GetJob
from jobledger.domain.errors import LedgerError
from jobledger.domain.identity import Permission

from ..filters import job_filters
from ..services import SignInNeeded, session_of, visitor_of
from ..sessions import Session

router = APIRouter()


@router.get("/tenants/{tenant}/live")
def live(request: Request, tenant: str) -> Response:
    """Server-sent events: of the job `job`, or of the jobs that a list's filters take, as far as the visitor may see
    them. They end when the session does. Where nobody is logged in: 204, which browsers take for the end."""
    try:
        visitor = visitor_of(request)
    except SignInNeeded:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    given = request.query_params
    follow = partial(
        visitor.services.live.stream, tenant, last=request.headers.get("last-event-id"),
        name=visitor.session.identity.id, is_known=partial(_is_known, request, visitor.session),
    )  # fmt: skip
    if given.get("job"):
        return follow(job_id=visitor.ask(GetJob, tenant=tenant, job=given["job"]).value.job_id)
    queues = visitor.authorized.require_somewhere(Permission.READ, tenant)
    filters = job_filters(given, queues)
    if filters.queue:
        visitor.authorized.require(Permission.READ, tenant, filters.queue)
        queues = frozenset({filters.queue})
    return follow(job_type=filters.job_type or None, persona=filters.persona or None, queues=queues)


async def _is_known(request: Request, session: Session) -> bool:
    """Whether the session goes on, as it was. While that cannot be found out, it does."""
    try:
        return await run_in_threadpool(session_of, request) == session
    except LedgerError:
        return True
