"""The dead-letter queue, and what is done to all that a filter matches: done when it is answered."""

from __future__ import annotations

from jobledger.application.commands import DiscardJob, RequeueJob
from jobledger.application.dlq_messages import (
    CountDlq,
    DiscardDlq,
    GetDeadJob,
    GetDlqAct,
    ListDlqActs,
    RequeueDlq,
)
from jobledger.application.queries import ListDlq
from jobledger.domain.errors import NotConfirmed

from ...api.dlq import BulkDiscardRequest, BulkRequeueRequest, DiscardRequest, Filter, RequeueRequest
from ...shapes import dlq as shapes
from ...shapes import jobs as job_shapes
from ...shapes.texts import iso
from .asked import Asked, Reply, changed

_FILTERS = ("type", "kind", "queue", "persona", "cause", "error_type", "fingerprint", "since", "until")


def list_dead(asked: Asked) -> Reply:
    """GET dlq."""
    found = asked.ask(
        ListDlq, tenant=asked.tenant, **_fields(_filter(asked)), limit=asked.number("limit"),
        cursor=asked.one("cursor"), after=asked.one("after"),
    ).value  # fmt: skip
    return Reply(asked.told({
        "tenant": asked.tenant, "jobs": [job_shapes.dlq_row(row) for row in found.rows], "next_cursor": found.cursor,
        "freshness": job_shapes.freshness(found.freshness),
    }))  # fmt: skip


def count(asked: Asked) -> Reply:
    """GET dlq/count."""
    return _count(asked, _filter(asked), asked.one("after"))


def get_dead(asked: Asked) -> Reply:
    """GET dlq/{job_id}."""
    found = asked.ask(GetDeadJob, tenant=asked.tenant, job=asked.job, bodies=asked.flag("bodies"))
    return Reply(shapes.dead_job(found.value))


def list_acts(asked: Asked) -> Reply:
    """GET dlq/acts."""
    acts = asked.ask(ListDlqActs, tenant=asked.tenant, limit=asked.number("limit")).value
    return Reply({"acts": [shapes.act(act) for act in acts]})


def requeue_job(asked: Asked) -> Reply:
    """POST requeue, of a job."""
    body = asked.body(RequeueRequest)
    version = asked.expected_version(required=body.edits)
    return changed(asked.ask(
        RequeueJob, tenant=asked.tenant, job=asked.job, reason=body.reason, ticket=body.ticket, attempts=body.attempts,
        payload=body.payload, put=body.put, without=tuple(body.without), expected_version=version,
    ))  # fmt: skip


def discard_job(asked: Asked) -> Reply:
    """POST discard, of a job."""
    body, version = asked.body(DiscardRequest), asked.expected_version()
    return changed(asked.ask(
        DiscardJob, tenant=asked.tenant, job=asked.job, reason=body.reason, ticket=body.ticket,
        expected_version=version,
    ))  # fmt: skip


def requeue(asked: Asked) -> Reply:
    """POST dlq/requeue."""
    body = asked.body(BulkRequeueRequest)
    return _count(asked, body.filter) if body.dry_run else _begun(asked, RequeueDlq, body, attempts=body.attempts)


def discard(asked: Asked) -> Reply:
    """POST dlq/discard."""
    body = asked.body(BulkDiscardRequest)
    return _count(asked, body.filter) if body.dry_run else _begun(asked, DiscardDlq, body)


def operation(asked: Asked) -> Reply:
    """GET an operation."""
    act = asked.ask(GetDlqAct, tenant=asked.tenant, act=asked.place["operation_id"]).value
    return Reply({
        "operation_id": act.event_id, "kind": f"dlq.{act.begun.act}", "status": "succeeded", "actor": act.actor,
        "reason": act.begun.reason, "begun_at": iso(act.begun_at), "ended_at": iso(act.ended_at),
        "progress": {"done": act.begun.confirmed, "total": act.begun.confirmed, "state": None, "fraction": None},
        "problem": None,
        "result": shapes.act_result(act),
    })  # fmt: skip


def _begun(
    asked: Asked, message: type[RequeueDlq] | type[DiscardDlq], body: BulkDiscardRequest, **more: object
) -> Reply:
    if body.expected_count is None:
        raise NotConfirmed(
            "what is done to many jobs is confirmed; nothing was done", field="expected_count",
            rule="says how many jobs there may be", hint="ask with dry_run first, and name its count",
        )  # fmt: skip
    fields = _fields(body.filter)
    if body.filter.until is None:
        fields["dead_to"] = asked.ask(CountDlq, tenant=asked.tenant, **fields).value.until
    known: list[str] = []
    asked.ask(
        message, tenant=asked.tenant, **fields, confirmed=body.expected_count, reason=body.reason, ticket=body.ticket,
        begun=known.append, **more,
    )  # fmt: skip
    where = f"/v1/tenants/{asked.tenant}/operations/{known[0]}"
    return Reply({"operation_id": known[0]}, 202, {"Location": where})


def _count(asked: Asked, where: Filter, after: str | None = None) -> Reply:
    return Reply(asked.told(shapes.counted(
        asked.ask(CountDlq, tenant=asked.tenant, **_fields(where), after=after).value
    )))  # fmt: skip


def _filter(asked: Asked) -> Filter:
    return Filter.model_validate({name: asked.one(name) for name in _FILTERS})


def _fields(where: Filter) -> dict[str, object]:
    return {
        "job_type": where.type, "kind": where.kind, "queue": where.queue, "persona": where.persona,
        "dlq_reason": where.cause, "error_type": where.error_type, "fingerprint": where.fingerprint,
        "dead_from": where.since, "dead_to": where.until,
    }  # fmt: skip
