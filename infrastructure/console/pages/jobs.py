"""The jobs of a tenant."""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from jobledger.application.queries import JobList, ListJobTypes, ListPersonaJobs, ListTenantJobs
from jobledger.domain.errors import JobledgerError
from jobledger.domain.identifiers import SHORT_ID_LENGTH
from jobledger.domain.job import JobStatus

from ..errors import Told, told
from ..filters import WITHIN_WORDS, JobFilters, job_filters, readable_queues
from ..rendering import page, query_text
from ..services import Looking, Visitor
from .frame import frame

router = APIRouter()

PAGE_JOBS = 50
TYPES_SUGGESTED = 500
_TOLD_SECONDS = 2.0
"""How long rows wait for what a page was told of."""
_ID = re.compile(rf"[0-9a-f]{{{SHORT_ID_LENGTH},32}}")


@router.get("/tenants/{tenant}/jobs")
def jobs(request: Request, visitor: Looking, tenant: str) -> Response:
    """A page of them, newest first. The newest page follows what happens."""
    given = request.query_params
    queues = readable_queues(visitor, tenant)
    filters = job_filters(given, queues)
    cursor = given.get("cursor") or None
    found, trouble = _read(visitor, tenant, filters, cursor, after=given.get("after"))
    if found is None and trouble is not None and trouble.status in (403, 404):
        raise trouble.error
    return page(
        request, "jobs.html", trouble.status if trouble else HTTPStatus.OK, **frame(visitor, tenant, "jobs"),
        **_rows(tenant, filters, cursor, found), filters=filters, queues=sorted(queues) if queues else None,
        statuses=list(JobStatus), within=WITHIN_WORDS, types=_types(visitor), trouble=trouble and trouble.told,
    )  # fmt: skip


@router.get("/tenants/{tenant}/jobs/live")
def live(request: Request, visitor: Looking, tenant: str) -> Response:
    """The rows again, where anything has changed since the page was made; with what was told up to `after`."""
    given = request.query_params
    filters = job_filters(given, readable_queues(visitor, tenant))
    found, trouble = _read(visitor, tenant, filters, None, given.get("after"), timeout_seconds=_TOLD_SECONDS)
    if trouble is not None and given.get("after"):  # not there yet, or of before a restore: then what there is
        found, trouble = _read(visitor, tenant, filters, None)
    if trouble is not None:
        raise trouble.error
    rows = _rows(tenant, filters, None, found)
    if rows["mark"] == given.get("mark"):
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return page(request, "jobs_rows.html", tenant=tenant, filters=filters, **rows)


@router.get("/tenants/{tenant}/find")
def find(visitor: Looking, tenant: str, job: str = "") -> Response:
    """Open a job by its id, or the end of it."""
    digits = job.strip().lower().replace("-", "")
    place = f"/tenants/{quote(tenant, safe='')}/jobs"
    if not _ID.fullmatch(digits):
        return RedirectResponse(f"{place}{query_text({'type': job.strip()})}", HTTPStatus.SEE_OTHER)
    return RedirectResponse(f"{place}/{digits}", HTTPStatus.SEE_OTHER)


class _Trouble:
    """Why there are no rows."""

    def __init__(self, error: JobledgerError) -> None:
        self.error = error
        self.told: Told = told(error)
        self.status = self.told.status


def _read(
    visitor: Visitor, tenant: str, filters: JobFilters, cursor: str | None, after: str | None = None,
    *, timeout_seconds: float | None = None,
) -> tuple[JobList | None, _Trouble | None]:  # fmt: skip
    try:
        fields = filters.fields(visitor.services.clock.now())
        message = ListPersonaJobs if filters.persona else ListTenantJobs
        if not filters.persona:
            del fields["persona"]
        asked = visitor.ask(
            message, tenant=tenant, cursor=cursor, after=after, limit=PAGE_JOBS, timeout_seconds=timeout_seconds,
            **fields,
        )  # fmt: skip
    except JobledgerError as error:
        return None, _Trouble(error)
    return asked.value, None


def _rows(tenant: str, filters: JobFilters, cursor: str | None, found: JobList | None) -> dict[str, object]:
    """What the rows are made of; `mark` is the same as long as they are."""
    place = f"/tenants/{quote(tenant, safe='')}/jobs"
    rows = found.rows if found else ()
    text = repr((rows, found.cursor, found.freshness.hold is None, found.freshness.parked)) if found else ""
    mark = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
    older = found.cursor if found else None
    told = {name: filters.query[name] for name in ("type", "queue", "persona")}
    return {
        "stream": f"/tenants/{quote(tenant, safe='')}/live{query_text(told)}",
        "rows": rows, "freshness": found.freshness if found else None, "mark": mark, "on_first": cursor is None,
        "live": f"{place}/live{query_text({**filters.query, 'mark': mark})}" if found and cursor is None else None,
        "older": f"{place}{query_text({**filters.query, 'cursor': older})}" if older else None,
        "newest": f"{place}{query_text(filters.query)}", "place": place,
    }  # fmt: skip


def _types(visitor: Visitor) -> list[str]:
    return [row.definition.name for row in visitor.ask(ListJobTypes).value][:TYPES_SUGGESTED]
