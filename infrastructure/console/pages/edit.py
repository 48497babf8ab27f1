"""Requeue a dead job with another payload: edit it, look at what changes, confirm."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from jobledger.application.commands import RequeueJob
from jobledger.application.queries import GetJob, JobDetails
from jobledger.domain.errors import (
    IllegalTransition,
    InvalidInput,
    JobledgerError,
    NotPermitted,
    ReasonRequired,
    Refusal,
    VersionConflict,
)
from jobledger.domain.identity import Permission
from jobledger.domain.job import JobStatus

from ..acts import number
from ..errors import Told, sentence, told
from ..payload_edit import SHOWN_MAX, ShownChange, changes, editable, read_payload
from ..rendering import page
from ..services import Looking, Sent, Visitor
from .frame import frame

router = APIRouter()

_FIELDS = ("payload", "reason", "attempts", "ticket")


class _Form(NamedTuple):
    """What a page shows: the payload as text, of which version of the job, and what is wrong with which field."""

    payload: str
    version: int
    kept: Sent
    trouble: Told | None = None
    wrong: tuple[str, str] | None = None


@router.get("/tenants/{tenant}/jobs/{job}/edit")
def edit(request: Request, visitor: Looking, tenant: str, job: str) -> Response:
    """The payload to edit: who looks at it is recorded."""
    found = _dead(visitor, tenant, job)
    seen = visitor.ask(GetJob, tenant=tenant, job=job, bodies=True).value
    return _page(request, visitor, found, _Form(editable(seen.payload), seen.version, _nothing))


@router.post("/tenants/{tenant}/jobs/{job}/edit")
def send(*, request: Request, visitor: Looking, tenant: str, job: str, sent: Sent) -> Response:
    """Look at what changes, edit further, or do it."""
    found = _dead(visitor, tenant, job)
    form = _Form(sent("payload"), _version(sent), sent)
    if sent("step") == "edit":
        return _page(request, visitor, found, form)
    try:
        if sent("step") == "confirm":
            return _requeue(visitor, found, form)
        return _review(request, visitor, found, form)
    except NotPermitted:
        raise
    except Refusal as error:
        return _page(request, visitor, found, _refused(form, error))


def _review(request: Request, visitor: Visitor, found: JobDetails, form: _Form) -> Response:
    payload = read_payload(form.payload)
    _require_sound(form.kept)
    seen = visitor.ask(GetJob, tenant=found.tenant, job=found.job_id, bodies=True).value
    if seen.version != form.version:
        raise VersionConflict("the job has moved on since you opened it")
    shown = changes(visitor, seen, payload)
    return _page(request, visitor, found, form, shown)


def _requeue(visitor: Visitor, found: JobDetails, form: _Form) -> Response:
    _require_sound(form.kept)
    sent = form.kept
    visitor.ask(
        RequeueJob, tenant=found.tenant, job=found.job_id, reason=sent("reason"), ticket=sent("ticket") or None,
        attempts=number(sent, "attempts"), payload=read_payload(form.payload), expected_version=form.version,
    )  # fmt: skip
    return RedirectResponse(f"{_place(found)}?done=requeue", HTTPStatus.SEE_OTHER)


def _require_sound(sent: Sent) -> None:
    if not sent("reason"):
        raise ReasonRequired("requeueing a job")
    number(sent, "attempts")


def _dead(visitor: Visitor, tenant: str, job: str) -> JobDetails:
    """The job, for whom may requeue it with another payload."""
    found = visitor.ask(GetJob, tenant=tenant, job=job).value
    for permission in (Permission.REQUEUE, Permission.READ_PAYLOADS):
        if not visitor.may(permission, tenant, found.state.queue):
            raise NotPermitted(visitor.actor.id, permission.value, f"for {tenant}")
    if found.status is not JobStatus.DLQ:
        raise IllegalTransition(found.status.value, "pending", "only a dead job is requeued")
    return found


def _refused(form: _Form, error: JobledgerError) -> _Form:
    """A refusal, at the field that it is about; else above all of them."""
    name = (error.field or "").partition(".")[0]
    shown = told(error)
    if name not in _FIELDS:
        return form._replace(trouble=shown)
    return form._replace(wrong=(name, sentence(error) if name == "reason" else _said(error)))


def _said(error: JobledgerError) -> str:
    """`number: must be an integer.`, without the field's own name."""
    _, _, inside = (error.field or "").partition(".")
    return f"{inside}: {error.message}." if inside else f"{error.message[:1].upper()}{error.message[1:]}."


def _page(
    request: Request, visitor: Visitor, job: JobDetails, form: _Form, shown: list[ShownChange] | None = None
) -> Response:
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.wrong else form.trouble.status if form.trouble else HTTPStatus.OK
    return page(
        request, "edit.html", status, **frame(visitor, job.tenant, "dlq"), job=job, place=_place(job), form=form,
        trouble=form.trouble, wrong=dict([form.wrong]) if form.wrong else {}, kept=form.kept,
        changes=None if shown is None else shown[:SHOWN_MAX], more=max(0, len(shown or ()) - SHOWN_MAX),
    )  # fmt: skip


def _version(sent: Sent) -> int:
    seen = number(sent, "version")
    if seen is None or seen < 1:
        raise InvalidInput("of which version of the job?", field="version", rule="as the page has it")
    return seen


def _nothing(_name: str) -> str:
    return ""


def _place(job: JobDetails) -> str:
    return f"/tenants/{quote(job.tenant, safe='')}/jobs/{job.job_id}"
