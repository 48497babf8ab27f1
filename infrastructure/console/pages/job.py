"""One job: where it stands, its attempts, its history in words, and what can be done to it."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from jobledger.application.dlq_messages import GetDeadJob
from jobledger.application.limit_messages import ExplainJob, Explanation
from jobledger.application.ports import TracedJob
from jobledger.application.queries import Causes, GetCauses, GetJob, GetJobHistory, History, JobDetails
from jobledger.domain.errors import JobledgerError, NotPermitted, Refusal
from jobledger.domain.identity import Permission
from jobledger.domain.job import TERMINAL, JobStatus

from ...shapes.history_pages import HistoryPage, read_page
from ...shapes.timeline import why
from ..acts import ACTS, acts_for, carry_out, permitted
from ..errors import Told, told
from ..rendering import body_text, page, query_text
from ..services import Looking, Sent, Visitor
from .frame import frame

router = APIRouter()

PAGE_EVENTS = 100
_CAUSED_SHOWN = 20
_VERSION_DIGITS_MAX = 9


class Bodies(NamedTuple):
    """What was asked for by name, and recorded."""

    payload: str | None
    result: str | None
    traceback: str | None


@router.get("/tenants/{tenant}/jobs/{job}")
def show(request: Request, visitor: Looking, tenant: str, job: str) -> Response:
    """The page of a job."""
    given = request.query_params
    found = visitor.ask(GetJob, tenant=tenant, job=job).value
    if str(found.job_id) != job:
        return RedirectResponse(_place(tenant, found), HTTPStatus.SEE_OTHER)
    done = ACTS.get(given.get("done", ""))
    bodies, refusal = _bodies(visitor, tenant, found) if given.get("payload") == "1" else (None, None)
    return _page(
        request, visitor, found, bodies=bodies, trouble=refusal, opened=given.get("act", ""),
        notice=done.done if done else None,
    )  # fmt: skip


@router.get("/tenants/{tenant}/jobs/{job}/live")
def live(request: Request, visitor: Looking, tenant: str, job: str) -> Response:
    """What changes of the page, where anything has."""
    found = visitor.ask(GetJob, tenant=tenant, job=job).value
    values = _values(request, visitor, found)
    if values["mark"] == request.query_params.get("mark"):
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return page(request, "job_live.html", tenant=tenant, **values)


@router.post("/tenants/{tenant}/jobs/{job}/{act}")
def act(*, request: Request, visitor: Looking, tenant: str, job: str, act: str, sent: Sent) -> Response:
    """Do something to a job."""
    wanted = ACTS.get(act)
    if wanted is None:
        raise HTTPException(404)
    try:
        carry_out(visitor, wanted, tenant, job, sent)
    except Refusal as error:
        shown = told(error)
        if shown.status == HTTPStatus.NOT_FOUND:
            raise
        found = visitor.ask(GetJob, tenant=tenant, job=job).value
        return _page(request, visitor, found, trouble=shown, opened=act, kept=sent)
    return RedirectResponse(f"/tenants/{_quoted(tenant)}/jobs/{_quoted(job)}?done={act}", HTTPStatus.SEE_OTHER)


def _page(
    request: Request, visitor: Visitor, found: JobDetails, *, bodies: Bodies | None = None, trouble: Told | None = None,
    opened: str = "", kept: Sent | None = None, notice: str | None = None,
) -> Response:  # fmt: skip
    values = _values(request, visitor, found)
    around = frame(visitor, found.tenant, "dlq" if found.status is JobStatus.DLQ else "jobs")
    return page(
        request, "job.html", trouble.status if trouble else HTTPStatus.OK, **around, **values, bodies=bodies,
        trouble=trouble, opened=opened, kept=kept or (lambda _name: ""), notice=notice,
        may_look=visitor.may(Permission.READ_PAYLOADS, found.tenant, found.state.queue),
    )  # fmt: skip


def _values(request: Request, visitor: Visitor, job: JobDetails) -> dict[str, Any]:
    """What the part of the page is made of that follows the job; `mark` is the same as long as that is."""
    after = _after(request)
    place = _place(job.tenant, job)
    past = _history(visitor, job, after)
    explanation = _explanation(visitor, job)
    causes = visitor.ask(GetCauses, tenant=job.tenant, job=job.job_id, limit=_CAUSED_SHOWN).value
    holds = [hold.text for hold in explanation.holds] if explanation else []
    offered = permitted(visitor, job.tenant, job)
    text = repr((job.version, explanation and explanation.account, holds, len(causes.caused), after))
    mark = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
    acts = ",".join(act.name for act in offered)
    follows = job.status not in TERMINAL and past.next_version is None
    query = {"after": after or "", "mark": mark, "acts": acts}
    return {
        "job": job, "place": place, "entries": past.entries, "after": after, "explanation": explanation,
        "causes": causes, "cause": _cause(causes), "caused": _by_version(causes), "mark": mark, "acts": offered,
        "refused_acts": [act for act in acts_for(job) if act not in offered],
        "may_edit": visitor.may(Permission.READ_PAYLOADS, job.tenant, job.state.queue),
        "changed_acts": request.query_params.get("acts", acts) != acts,
        "live": f"{place}/live{query_text(query)}" if follows else None,
        "stream": f"/tenants/{_quoted(job.tenant)}/live?job={job.job_id}",
        "next": f"{place}?after={past.next_version}#timeline" if past.next_version else None,
        "latest": f"{place}?after={job.version - PAGE_EVENTS}#timeline" if past.next_version else None,
        "first": f"{place}#timeline" if after else None,
    }  # fmt: skip


def _history(visitor: Visitor, job: JobDetails, after: int) -> HistoryPage:
    def read(version: int, limit: int) -> History:
        return visitor.ask(
            GetJobHistory, tenant=job.tenant, job=job.job_id, after_version=version, limit=limit
        ).value  # fmt: skip

    return read_page(read, after=after, limit=PAGE_EVENTS, fold=True)


def _explanation(visitor: Visitor, job: JobDetails) -> Explanation | None:
    """Why it stands where it does; None where this login to the ledger may not know."""
    try:
        return visitor.ask(ExplainJob, tenant=job.tenant, job=job.job_id).value
    except JobledgerError:
        return None


def _bodies(visitor: Visitor, tenant: str, job: JobDetails) -> tuple[Bodies | None, Told | None]:
    """Payload, result and the last traceback: a permission of its own, and recorded."""
    try:
        if job.status is JobStatus.DLQ:
            dead = visitor.ask(GetDeadJob, tenant=tenant, job=job.job_id, bodies=True).value
            return Bodies(body_text(dead.job.payload), None, body_text(dead.traceback)), None
        seen = visitor.ask(GetJob, tenant=tenant, job=job.job_id, bodies=True).value
    except NotPermitted as error:
        return None, told(error)
    return Bodies(body_text(seen.payload), body_text(seen.result), None), None


def _cause(causes: Causes) -> tuple[str, str | None] | None:
    """What caused a job in words, and the id of the job that did."""
    if causes.cause is None:
        return None
    event = causes.cause.event
    if event is None:
        return f"message {causes.cause.causation_id}", None
    what = f"{event.topic.removeprefix('job.')} {why(event.facts)}".rstrip()
    job_type = getattr(event.facts, "job_type", event.topic)
    return f"{job_type}, version {event.originator_version}: {what}", str(event.originator_id)


def _by_version(causes: Causes) -> dict[int, list[TracedJob]]:
    """The caused jobs by the version of the event that caused them."""
    found: dict[int, list[TracedJob]] = {}
    for job in causes.caused:
        _, _, version = (job.causation_id or "").rpartition(".")
        found.setdefault(int(version) if version.isdigit() else 0, []).append(job)
    return found


def _after(request: Request) -> int:
    text = request.query_params.get("after", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _VERSION_DIGITS_MAX else 0


def _place(tenant: str, job: JobDetails) -> str:
    return f"/tenants/{_quoted(tenant)}/jobs/{job.job_id}"


def _quoted(text: str) -> str:
    return quote(text, safe="")
