"""Every route of the HTTP application: how tenant A's identity asks for tenant B's things there.

A new route needs a row. Which one:

- `Foreign`: it takes a tenant, or something that a tenant has. Each `Ask` names B's things as `{their.job}` (`Names`);
  A has to be answered as where they do not exist. Ask also within A's own tenant for what is B's: `both`.
- `Installation`: it is for whoever may see all tenants. A is refused; on record, where it changes or shows something.
- `Own`: without a name it shows what is A's own, and nothing of B.
- `Nobodys`: it knows no tenant's data; say why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from .asking import Ask

REASON: Final = {"reason": "tried"}
_IN: Final = "/v1/tenants/{their.tenant}"
_OWN: Final = "/v1/tenants/{own.tenant}"
WORKER: Final = {"worker": "{their.worker}"}


class Foreign(NamedTuple):
    """It takes names: those of others are names that do not exist."""

    asks: tuple[Ask, ...]


class Installation(NamedTuple):
    """It is for the whole installation."""

    ask: Ask
    recorded: bool = True


class Own(NamedTuple):
    """It shows what is one's own."""

    ask: Ask


class Nobodys(NamedTuple):
    """It knows no tenant's data."""

    ask: Ask
    why: str


Row = Foreign | Installation | Own | Nobodys


def both(tail: str, **about: Any) -> Foreign:  # noqa: ANN401 - see `Ask`
    """In the other tenant, and in one's own for what is the other's."""
    return Foreign((Ask(_IN + tail, **about), Ask(_OWN + tail, **about)))


def theirs(tail: str, **about: Any) -> Foreign:  # noqa: ANN401 - see `Ask`
    """In the other tenant."""
    return Foreign((Ask(_IN + tail, **about),))


def attempt(verb: str, **body: object) -> Foreign:
    """A report or the ending of an attempt that B's worker holds, with its name."""
    tail = f"/jobs/{{their.running}}/attempts/1/{verb}"
    return both(tail, json={**WORKER, **body})


_QUEUES: Final = "a queue is everybody's: a claim first looks whether it holds anything at all"
_JOB: Final = {"type": "number.double", "payload": {"number": 1}}
_DEAD: Final = {"filter": {"persona": "{their.persona}", "queue": "{their.queue}"}}

ROUTES: Final[Mapping[str, Row]] = {
    # --- jobs
    "POST /v1/tenants/{tenant}/jobs": Foreign((
        Ask(f"{_IN}/jobs", json=_JOB),
        Ask(f"{_OWN}/jobs", json=_JOB, headers={"Idempotency-Key": "{their.idempotency_key}"}),
        Ask(f"{_OWN}/jobs", json={
            **_JOB, "correlation_id": "{their.request}", "causation_id": "{their.event}", "persona": "{their.persona}",
            "lock_key": "{their.limit_key}", "limit_key": "{their.limit_key}",
        }),
    )),
    "POST /v1/tenants/{tenant}/jobs/bulk": Foreign((
        Ask(f"{_IN}/jobs/bulk", content='{"type": "number.double"}\n', headers={"Content-Type": "application/jsonl"}),
        Ask(f"{_OWN}/jobs/bulk", headers={"Content-Type": "application/jsonl"},
            content='{"type": "number.double", "idempotency_key": "{their.idempotency_key}"}\n'),
    )),
    "GET /v1/tenants/{tenant}/jobs": Foreign((
        Ask(f"{_IN}/jobs"), Ask(f"{_OWN}/jobs", params={"cursor": "{their.cursor}"}),
        Ask(f"{_OWN}/jobs", params={"queue": "{their.queue}"}),
    )),
    "GET /v1/tenants/{tenant}/jobs/{job_id}": Foreign((
        *both("/jobs/{their.job}").asks, *both("/jobs/{their.job}", params={"payload": "true"}).asks,
        *both("/jobs/{their.job}", params={"as_of": "2020-01-01T00:00:00Z"}).asks,
    )),
    "POST /v1/tenants/{tenant}/jobs/{job_id}/cancel": both("/jobs/{their.job}/cancel", json=REASON),
    "POST /v1/tenants/{tenant}/jobs/{job_id}/reschedule": both(
        "/jobs/{their.job}/reschedule", json={**REASON, "priority": 1}, headers={"If-Match": '"1"'}
    ),
    "POST /v1/tenants/{tenant}/jobs/{job_id}/requeue": both("/jobs/{their.dead}/requeue", json=REASON),
    "POST /v1/tenants/{tenant}/jobs/{job_id}/discard": both("/jobs/{their.dead}/discard", json=REASON),
    "GET /v1/tenants/{tenant}/jobs/{job_id}/history": Foreign((
        *both("/jobs/{their.job}/history").asks, *both("/jobs/{their.job}/history", params={"bodies": "true"}).asks,
    )),
    "GET /v1/tenants/{tenant}/jobs/{job_id}/diff": both("/jobs/{their.dead}/diff", params={"from_version": "1"}),
    "GET /v1/tenants/{tenant}/jobs/{job_id}/causes": both("/jobs/{their.job}/causes"),
    "GET /v1/tenants/{tenant}/jobs/{job_id}/explanation": both("/jobs/{their.job}/explanation"),
    "GET /v1/tenants/{tenant}/jobs/{job_id}/result": both("/jobs/{their.job}/result", params={"wait_seconds": "0.1"}),
    "GET /v1/tenants/{tenant}/jobs/{job_id}/events": both("/jobs/{their.job}/events"),
    "GET /v1/tenants/{tenant}/events": theirs("/events"),
    "GET /v1/tenants/{tenant}/personas/{persona}/jobs": both("/personas/{their.persona}/jobs"),
    "GET /v1/tenants/{tenant}/traces/{request:any_text}": Foreign((
        *both("/traces/{their.request}").asks,
        Ask(_OWN + "/traces/..%2F..%2F{their.tenant}%2Ftraces%2F{their.request}"),
    )),
    "GET /v1/tenants/{tenant}/statistics": theirs("/statistics"),
    # --- the dead-letter queue
    "GET /v1/tenants/{tenant}/dlq": Foreign((
        Ask(f"{_IN}/dlq"), Ask(f"{_OWN}/dlq", params={"persona": "{their.persona}"}),
        Ask(f"{_OWN}/dlq", params={"cursor": "{their.cursor}"}),
    )),
    "GET /v1/tenants/{tenant}/dlq/count": both("/dlq/count", params={"persona": "{their.persona}"}),
    "GET /v1/tenants/{tenant}/dlq/acts": theirs("/dlq/acts"),
    "GET /v1/tenants/{tenant}/dlq/{job_id}": Foreign((
        *both("/dlq/{their.dead}").asks, *both("/dlq/{their.dead}", params={"bodies": "true"}).asks,
    )),
    "POST /v1/tenants/{tenant}/dlq/requeue": Foreign((
        Ask(f"{_IN}/dlq/requeue", json={**_DEAD, **REASON, "expected_count": 1}),
        *both("/dlq/requeue", json={**_DEAD, "dry_run": True}).asks,
    )),
    "POST /v1/tenants/{tenant}/dlq/discard": Foreign((
        Ask(f"{_IN}/dlq/discard", json={**_DEAD, **REASON, "expected_count": 1}),
        *both("/dlq/discard", json={**_DEAD, "dry_run": True}).asks,
    )),
    "GET /v1/tenants/{tenant}/operations/{operation_id}": both("/operations/{their.operation}"),
    # --- workers
    "POST /v1/leases/claim": Foreign((
        Ask("/v1/leases/claim", json={**WORKER, "queues": ["{their.queue}"], "tenants": ["{their.tenant}"]}),
        Ask("/v1/leases/claim", json={**WORKER, "queues": ["{their.queue}"]}, differs=_QUEUES),
        Ask("/v1/leases/claim", json={
            **WORKER, "queues": ["{own.queue}"], "tenants": ["{own.tenant}"], "personas": ["{their.persona}"],
        }),
    )),
    "POST /v1/leases/heartbeat": Foreign((
        Ask("/v1/leases/heartbeat", json={**WORKER, "held": [{"job_id": "{their.running}", "attempt": 1}]}),
    )),
    "POST /v1/leases/retire": Foreign((Ask("/v1/leases/retire", json=WORKER),)),
    "POST /v1/tenants/{tenant}/jobs/{job_id}/attempts/{attempt}/progress": attempt("progress", fraction=0.5),
    "POST /v1/tenants/{tenant}/jobs/{job_id}/attempts/{attempt}/log": attempt("log", lines=["a line"]),
    "POST /v1/tenants/{tenant}/jobs/{job_id}/attempts/{attempt}/step": attempt("step", step="one", output=1),
    "POST /v1/tenants/{tenant}/jobs/{job_id}/attempts/{attempt}/complete": attempt("complete", result={"number": 1}),
    "POST /v1/tenants/{tenant}/jobs/{job_id}/attempts/{attempt}/fail": attempt("fail", error_type="E", message="no"),
    "POST /v1/tenants/{tenant}/jobs/{job_id}/attempts/{attempt}/snooze": attempt("snooze", delay_seconds=5, reason="x"),
    "POST /v1/tenants/{tenant}/jobs/{job_id}/attempts/{attempt}/release": attempt("release", reason="x"),
    "GET /v1/workers": Installation(Ask("/v1/workers"), recorded=False),
    "GET /v1/job-types": Nobodys(Ask("/v1/job-types"), "types and their schemas are the programs', not a tenant's"),
    "POST /v1/job-types": Installation(Ask("/v1/job-types", json={
        "app": "elsewhere", "code_version": "1",
        "definitions": [{"name": "number.halve", "effects": "none", "payload_schema": {"type": "object"},
                         "result_schema": {"type": "object"}}],
    })),
    # --- tenants and keys
    "GET /v1/tenants": Own(Ask("/v1/tenants")),
    "POST /v1/tenants": Installation(Ask("/v1/tenants", json={"name": "{their.tenant}", **REASON})),
    "POST /v1/tenants/{tenant}/suspend": theirs("/suspend", json=REASON),
    "POST /v1/tenants/{tenant}/resume": theirs("/resume", json=REASON),
    "GET /v1/keys": Installation(Ask("/v1/keys"), recorded=False),
    "POST /v1/keys": Installation(Ask("/v1/keys", json={
        "name": "more", "grants": [{"role": "auditor", "tenants": ["{their.tenant}"]}], **REASON,
    })),
    "POST /v1/keys/{key_id}/rotate": Installation(Ask("/v1/keys/{their.key_id}/rotate", json=REASON)),
    "POST /v1/keys/{key_id}/revoke": Installation(Ask("/v1/keys/{their.key_id}/revoke", json=REASON)),
    # --- queues and limits
    "GET /v1/queues": Installation(Ask("/v1/queues"), recorded=False),
    "POST /v1/queues/{queue}/pause": Installation(Ask("/v1/queues/{their.queue}/pause", json=REASON)),
    "POST /v1/queues/{queue}/resume": Installation(Ask("/v1/queues/{their.queue}/resume", json=REASON)),
    "GET /v1/limits": Foreign((Ask("/v1/limits", params={"tenant": "{their.tenant}"}),)),
    "GET /v1/limits/{scope}/{name:any_text}": Foreign((
        Ask("/v1/limits/tenant/{their.tenant}"),
        Ask("/v1/limits/persona/{their.persona}", params={"tenant": "{their.tenant}"}),
        Ask("/v1/limits/key/{their.limit_key}", params={"tenant": "{their.tenant}"}),
        Ask("/v1/limits/persona/{their.persona}", params={"tenant": "{own.tenant}"}),
        Ask("/v1/limits/queue/{their.queue}"),
    )),
    "PUT /v1/limits/{scope}/{name:any_text}": Foreign((
        Ask("/v1/limits/tenant/{their.tenant}", json={"concurrency": 1, **REASON}),
        Ask("/v1/limits/persona/{their.persona}", params={"tenant": "{their.tenant}"},
            json={"concurrency": 1, **REASON}),
        Ask("/v1/limits/key/{their.limit_key}", params={"tenant": "{their.tenant}"}, json={"concurrency": 1, **REASON}),
        Ask("/v1/limits/queue/{their.queue}", json={"concurrency": 1, **REASON}),
    )),
    "DELETE /v1/limits/{scope}/{name:any_text}": Foreign((
        Ask("/v1/limits/tenant/{their.tenant}", params=REASON),
        Ask("/v1/limits/persona/{their.persona}", params={"tenant": "{their.tenant}", **REASON}),
        Ask("/v1/limits/queue/{their.queue}", params=REASON),
    )),
    "POST /v1/tenants/{tenant}/pause": theirs("/pause", json=REASON),
    "POST /v1/tenants/{tenant}/unpause": theirs("/unpause", json=REASON),
    "POST /v1/tenants/{tenant}/personas/{persona}/pause": both("/personas/{their.persona}/pause", json=REASON),
    "POST /v1/tenants/{tenant}/personas/{persona}/resume": both("/personas/{their.persona}/resume", json=REASON),
    "POST /v1/tenants/{tenant}/limit-keys/{key:any_text}/pause": both(
        "/limit-keys/{their.limit_key}/pause", json=REASON
    ),
    "POST /v1/tenants/{tenant}/limit-keys/{key:any_text}/resume": both(
        "/limit-keys/{their.limit_key}/resume", json=REASON
    ),
    # --- auditors
    "GET /v1/audit/events": Foreign((
        Ask("/v1/audit/events", params={"tenant": "{their.tenant}"}),
        Ask("/v1/audit/events", params={"tenant": "{their.tenant}", "bodies": "true", "reason": "tried"}),
    )),
    "GET /v1/audit/exports/{export_id}": Foreign((
        Ask("/v1/audit/exports/{their.export}", params={"tenant": "{their.tenant}"}),
        Ask("/v1/audit/exports/{their.export}", params={"tenant": "{own.tenant}"}),
    )),
    "GET /v1/audit/actions": Foreign((
        Ask("/v1/audit/actions", params={"tenant": "{their.tenant}"}), Ask("/v1/audit/actions"),
    )),
    # --- of the whole installation
    "GET /v1/statistics/queues": Installation(Ask("/v1/statistics/queues"), recorded=False),
    "GET /v1/projections": Installation(Ask("/v1/projections"), recorded=False),
    "POST /v1/projections/{name}/rebuild": Installation(Ask("/v1/projections/tenant_jobs/rebuild", json={
        **REASON, "tenant": "{their.tenant}", "job_id": "{their.job}",
    })),
    "POST /v1/projections/{name}/verify": Installation(Ask("/v1/projections/tenant_jobs/verify", json={
        "tenant": "{their.tenant}", "job_id": "{their.job}",
    })),
    "POST /v1/projections/{name}/cancel": Installation(Ask("/v1/projections/tenant_jobs/cancel", json=REASON)),
    "POST /v1/projections/{name}/drop-previous": Installation(
        Ask("/v1/projections/tenant_jobs/drop-previous", json=REASON)
    ),
    "GET /v1/operations/{operation_id}": Installation(Ask("/v1/operations/{their.operation}"), recorded=False),
    "GET /livez": Nobodys(Ask("/livez"), "says `ok`"),
    "GET /readyz": Nobodys(Ask("/readyz"), "says `ok`"),
    "GET /v1/openapi.json": Nobodys(Ask("/v1/openapi.json"), "is the same in every installation"),
}  # fmt: skip
"""By method and path, as the application has them."""
