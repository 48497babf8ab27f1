"""What was done to many dead jobs at once: how far it is, and what came of it."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from jobledger.domain.dlq import DlqFilter

from ..bulk_acts import UNDER_WAY, WORDS, BulkStanding, look
from ..rendering import page, query_text
from ..services import Looking
from .frame import frame

router = APIRouter()

_FILTER_WORDS = {
    "job_type": "type", "kind": "kind", "queue": "queue", "persona": "persona", "reason": "cause",
    "error_type": "error", "fingerprint": "fingerprint", "dead_from": "died from", "dead_to": "died before",
}  # fmt: skip


@router.get("/tenants/{tenant}/dlq/acts/{act}")
def show(request: Request, visitor: Looking, tenant: str, act: str) -> Response:
    """The page of an act: any server has it, also after a restart."""
    queue = request.query_params.get("queue") or None
    found = look(visitor, tenant, act, queue)
    return page(request, "dlq_act.html", **frame(visitor, tenant, "dlq"), **_values(tenant, found, queue))


@router.get("/tenants/{tenant}/dlq/acts/{act}/live")
def live(request: Request, visitor: Looking, tenant: str, act: str) -> Response:
    """What changes of it, where anything has."""
    queue = request.query_params.get("queue") or None
    found = look(visitor, tenant, act, queue)
    if found.mark == request.query_params.get("mark"):
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return page(request, "dlq_act_live.html", tenant=tenant, **_values(tenant, found, queue))


def _values(tenant: str, found: BulkStanding, queue: str | None) -> dict[str, object]:
    dlq = f"/tenants/{quote(tenant, safe='')}/dlq"
    query = {"queue": queue, "mark": found.mark}
    place = f"{dlq}/acts/{quote(found.found.event_id, safe='')}"
    return {
        "standing": found, "words": WORDS, "under_way": UNDER_WAY, "meant": _meant(found.found.begun.filter),
        "live": f"{place}/live{query_text(query)}" if found.goes_on else None,
        "back": f"{dlq}{query_text({'queue': queue, 'after': found.position})}",
        "jobs": f"/tenants/{quote(tenant, safe='')}/jobs",
    }  # fmt: skip


def _meant(where: DlqFilter) -> list[tuple[str, str]]:
    """The filter in words."""
    given = where.model_dump(mode="json", exclude_none=True)
    return [(_FILTER_WORDS[name], str(value)) for name, value in given.items()]
