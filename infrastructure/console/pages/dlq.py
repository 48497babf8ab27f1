"""The dead-letter queue of a tenant: by error, and all dead jobs of one error."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from jobledger.application.dlq_messages import CountDlq, DlqCount, ListDlqActs, ListDlqErrors
from jobledger.application.queries import ListDlq, ListJobTypes
from jobledger.domain.errors import InvalidInput, JobledgerError, NotPermitted, ReasonRequired

from ..bulk_acts import ACTS, UNDER_WAY, WORDS, Asked, BulkStanding, begin, standing
from ..errors import Told, told
from ..filters import FILTER_LENGTH_MAX, WITHIN_WORDS, DlqFilters, dlq_filters, readable_queues
from ..rendering import page, query_text
from ..services import Looking, Sent, Visitor
from .frame import frame

router = APIRouter()

PAGE_JOBS = 50
ACTS_SHOWN = 5
ERRORS_SHOWN = 100


@router.get("/tenants/{tenant}/dlq")
def errors(request: Request, visitor: Looking, tenant: str) -> Response:
    """Of which errors jobs died, the most frequent first."""
    given = request.query_params
    queues = readable_queues(visitor, tenant)
    filters = dlq_filters(given, queues)
    trouble, found = None, None
    try:
        fields = filters.fields(visitor.services.clock.now())
        found = visitor.ask(
            ListDlqErrors, tenant=tenant, limit=ERRORS_SHOWN, after=given.get("after") or None, **fields
        ).value  # fmt: skip
    except InvalidInput as error:
        trouble = told(error)
    return page(
        request, "dlq.html", trouble.status if trouble else HTTPStatus.OK, **frame(visitor, tenant, "dlq"),
        found=found, filters=filters, queues=sorted(queues) if queues else None, within=WITHIN_WORDS,
        types=[row.definition.name for row in visitor.ask(ListJobTypes).value], trouble=trouble,
        place=_place(tenant), acts=_acts(visitor, tenant, filters),
        words=WORDS, under_way=UNDER_WAY,
    )  # fmt: skip


@router.get("/tenants/{tenant}/dlq/error")
def error_page(request: Request, visitor: Looking, tenant: str) -> Response:
    """The jobs that died of one error, and what can be done to all of them."""
    return _error_page(request, visitor, tenant)


@router.post("/tenants/{tenant}/dlq/error/{act}")
def act(request: Request, visitor: Looking, tenant: str, act: str, sent: Sent) -> Response:
    """Requeue or discard all that died of one error."""
    if act not in ACTS:
        raise HTTPException(404)
    try:
        operation = begin(visitor, _asked(request, visitor, tenant, act, sent))
    except JobledgerError as error:
        shown = told(error)
        if shown.status == HTTPStatus.NOT_FOUND or shown.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        return _error_page(request, visitor, tenant, trouble=shown, opened=act, kept=sent)
    queue = dlq_filters(request.query_params, readable_queues(visitor, tenant)).queue
    place = f"{_place(tenant)}/acts/{_quoted(operation)}{query_text({'queue': queue})}"
    return RedirectResponse(place, HTTPStatus.SEE_OTHER)


def _asked(request: Request, visitor: Visitor, tenant: str, act: str, sent: Sent) -> Asked:
    """What is to be done to those that were shown, if their number was confirmed. Raises the refusal."""
    reason, shown, confirmed = sent("reason"), _count(sent("count")), _count(sent("confirm"))
    if not reason:
        raise ReasonRequired(f"{act}ing dead jobs")
    if shown is None or confirmed != shown:
        raise InvalidInput(
            f"type the number of jobs, {shown or 0:,}, to confirm that you mean all of them", field="confirm",
            rule="is the number of jobs",
        )  # fmt: skip
    meant = {**_meant(request, visitor, tenant), "dead_to": _until(sent("until"))}
    return Asked("requeue" if act == "requeue" else "discard", tenant, meant, shown, reason, sent("ticket") or None)


def _error_page(
    request: Request, visitor: Visitor, tenant: str, *, trouble: Told | None = None, opened: str = "",
    kept: Sent | None = None,
) -> Response:  # fmt: skip
    given = request.query_params
    filters = dlq_filters(given, readable_queues(visitor, tenant))
    meant = _meant(request, visitor, tenant)
    cursor = given.get("cursor") or None
    counted = visitor.ask(CountDlq, tenant=tenant, sample=1, **meant).value
    found = visitor.ask(ListDlq, tenant=tenant, limit=PAGE_JOBS, cursor=cursor, **meant).value
    query: dict[str, Any] = {**filters.query, "fingerprint": given.get("fingerprint", "")}
    here = f"{_place(tenant)}/error"
    return page(
        request, "dlq_error.html", trouble.status if trouble else HTTPStatus.OK, **frame(visitor, tenant, "dlq"),
        counted=counted, found=found, filters=filters, fingerprint=query["fingerprint"], trouble=trouble,
        opened=opened, kept=kept or (lambda _name: ""), place=_place(tenant), jobs=f"/tenants/{_quoted(tenant)}/jobs",
        send_to={act: f"{here}/{act}{query_text(query)}" for act in _offered(visitor, tenant, filters)},
        missing=[act for act in ACTS if act not in _offered(visitor, tenant, filters)], until=_until_text(counted),
        older=f"{here}{query_text({**query, 'cursor': found.cursor})}" if found.cursor else None,
        newest=f"{here}{query_text(query)}" if cursor else None,
    )  # fmt: skip


def _acts(visitor: Visitor, tenant: str, filters: DlqFilters) -> list[BulkStanding]:
    """What was done last to many at once, for those who may see all of the tenant's queues."""
    if filters.is_any:
        return []
    try:
        found = visitor.ask(ListDlqActs, tenant=tenant, limit=ACTS_SHOWN).value
    except NotPermitted:
        return []
    return [standing(visitor, tenant, one) for one in found]


def _meant(request: Request, visitor: Visitor, tenant: str) -> dict[str, object]:
    """The fields that say which dead jobs: those of the filters in the address, that died of its error."""
    filters = dlq_filters(request.query_params, readable_queues(visitor, tenant))
    fingerprint = request.query_params.get("fingerprint", "")[:FILTER_LENGTH_MAX]
    return {**filters.fields(visitor.services.clock.now()), "fingerprint": fingerprint}


def _offered(visitor: Visitor, tenant: str, filters: DlqFilters) -> list[str]:
    queue = filters.queue or None
    return [act for act, (_, permission) in ACTS.items() if visitor.may(permission, tenant, queue)]


def _count(text: str) -> int | None:
    digits = text.replace(",", "").strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 12 else None


def _until(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError as error:
        raise InvalidInput("that is no time", field="until", rule="as the page has it") from error


def _until_text(counted: DlqCount) -> str:
    return counted.until.isoformat() if counted.until else ""


def _place(tenant: str) -> str:
    return f"/tenants/{_quoted(tenant)}/dlq"


def _quoted(text: str) -> str:
    return quote(text, safe="")
