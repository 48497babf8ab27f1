"""Whatever the API can be asked the client can ask: each operation of the document has a method, with all it takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import httpx
import pytest
from pydantic import BaseModel

from jobledger.client import ApiProblem, Count, DispatchRequest, Lease, Leases
from jobledger.infrastructure.client import asynchronous
from jobledger.infrastructure.http.app import make_document
from tests.support.repository import ROOT

from .scripted import JOB, Script, client_of, problem

DOCUMENT: dict[str, Any] = make_document(version="1")
M = TypeVar("M", bound=BaseModel)


def example(model: type[M]) -> M:
    """The one that the document shows."""
    extra: Any = model.model_config.get("json_schema_extra")
    return model.model_validate(extra["examples"][0])


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COUNT: Count = example(Count)
LEASE: Lease = example(Leases).leases[0]
SAW: dict[str, Any] = {"reason": "r", "if_match": 1}
LISTED: dict[str, Any] = {
    "status": "dlq", "failed": True, "type": "a", "kind": "work", "queue": "q", "created_from": NOON,
    "created_to": NOON, "as_of": NOON, "after": "p.1", "limit": 5,
}  # fmt: skip
DEAD: dict[str, Any] = {
    "type": "a", "kind": "work", "queue": "q", "persona": "p", "cause": "stalled", "error_type": "E",
    "fingerprint": "f", "since": NOON, "until": NOON, "after": "p.1",
}  # fmt: skip
MEASURED: dict[str, Any] = {"since": NOON, "until": NOON, "limit": 5, "after": "p.1"}
REPLAYED: dict[str, Any] = {
    "since": NOON, "until": NOON, "topics": ["job.*"], "actor": "key:a", "bodies": True, "reason": "r",
}  # fmt: skip


class Method(NamedTuple):
    """How a client is asked to do it: `name` is where the method stands."""

    name: str
    args: tuple[object, ...] = ()
    options: Mapping[str, object] = {}


METHODS: Mapping[str, Method] = {
    "dispatch_job": Method("dispatch", ("a", {"n": 1}), {"persona": "p", "idempotency_key": "k"}),
    "dispatch_jobs": Method("dispatch_many", ([DispatchRequest(type="a")],)),
    "list_jobs": Method("jobs.list", (), LISTED),
    "list_persona_jobs": Method("jobs.list", (), {**LISTED, "persona": "p"}),
    "get_job": Method("jobs.get", (JOB,), {"payload": True, "as_of": NOON, "after": "p.1"}),
    "get_job_history": Method("jobs.history", (JOB,), {"after_version": 1, "bodies": True, "limit": 5, "after": "p.1"}),
    "diff_job": Method("jobs.diff", (JOB,), {"from_version": 1, "to_version": 2, "bodies": True, "after": "p.1"}),
    "get_job_causes": Method("jobs.causes", (JOB,), {"limit": 5, "after": "p.1"}),
    "explain_job": Method("jobs.explain", (JOB,), {"after": "p.1"}),
    "get_trace": Method("jobs.trace", ("order-42",), {"limit": 5, "cursor": "c", "after": "p.1"}),
    "get_job_result": Method("jobs.result", (JOB,), {"timeout_seconds": 1.0}),
    "follow_job": Method("jobs.events", (JOB,), {"after": "p.1"}),
    "follow_jobs": Method("events", (), {"type": "a", "queue": "q", "persona": "p", "topics": ["t"], "after": "p.1"}),
    "cancel_job": Method("jobs.cancel", (JOB,), SAW),
    "reschedule_job": Method("jobs.reschedule", (JOB,), {**SAW, "priority": 1, "run_at": NOON}),
    "requeue_job": Method("jobs.requeue", (JOB,), {**SAW, "ticket": "T", "attempts": 2, "put": {"/n": 2}}),
    "discard_job": Method("jobs.discard", (JOB,), {**SAW, "ticket": "T"}),
    "list_dlq": Method("dlq.list", (), {**DEAD, "limit": 5}),
    "count_dlq": Method("dlq.count", (), DEAD),
    "get_dead_job": Method("dlq.get", (JOB,), {"bodies": True, "after": "p.1"}),
    "requeue_dlq": Method("dlq.requeue", (COUNT,), {"reason": "r", "ticket": "T", "attempts": 2}),
    "discard_dlq": Method("dlq.discard", (COUNT,), {"reason": "r", "ticket": "T"}),
    "list_dlq_acts": Method("dlq.acts", (), {"limit": 5}),
    "get_operation": Method("operations.get", ("o.1",), {"queue": "q"}),
    "get_tenant_statistics": Method("statistics", (), {**MEASURED, "by": ["type"]}),
    "get_queue_statistics": Method("queue_statistics", (), {**MEASURED, "by": ["queue"]}),
    "list_queues": Method("queues.list"),
    "pause_queue": Method("queues.pause", ("q",), {"reason": "r"}),
    "resume_queue": Method("queues.resume", ("q",), {"reason": "r"}),
    "list_limits": Method("limits.list", (), {"tenant": "acme", "scope": "persona"}),
    "get_limits": Method("limits.get", ("key", "gateway/*"), {"after_version": 1, "limit": 5}),
    "set_limits": Method("limits.set", ("key", "gateway/*"), {
        "reason": "r", "concurrency": 5, "rate": (100, 60.0), "weight": 2,
    }),
    "remove_limits": Method("limits.remove", ("key", "gateway/*"), {
        "reason": "r", "concurrency": True, "rate": True, "weight": True,
    }),
    "pause_persona": Method("personas.pause", ("p",), {"reason": "r"}),
    "resume_persona": Method("personas.resume", ("p",), {"reason": "r"}),
    "pause_limit_key": Method("limit_keys.pause", ("gateway/*",), {"reason": "r"}),
    "resume_limit_key": Method("limit_keys.resume", ("gateway/*",), {"reason": "r"}),
    "list_tenants": Method("tenants.list"),
    "create_tenant": Method("tenants.create", ("acme",), {"display_name": "A", "reason": "r"}),
    "suspend_tenant": Method("tenants.suspend", ("acme",), {"reason": "r"}),
    "resume_tenant": Method("tenants.resume", ("acme",), {"reason": "r"}),
    "pause_tenant": Method("tenants.pause", ("acme",), {"reason": "r"}),
    "unpause_tenant": Method("tenants.unpause", ("acme",), {"reason": "r"}),
    "list_workers": Method("workers.list", (), {"lost": True}),
    "list_job_types": Method("job_types.list"),
    "register_job_types": Method("job_types.register", ("app", [{"name": "a"}]), {"code_version": "1"}),
    "claim_jobs": Method("leases.claim", ("w",), {
        "queues": ("q",), "tenants": ["acme"], "personas": ["p"], "types": ["a"], "limit": 2, "wait_seconds": 1.0,
        "concurrency": 4, "lease_seconds": 30.0, "code_version": "1",
    }),
    "renew_leases": Method("leases.heartbeat", ("w", [LEASE])),
    "retire_worker": Method("leases.retire", ("w",)),
    "report_progress": Method("leases.progress", (LEASE, 0.5, "half")),
    "report_log": Method("leases.log", (LEASE, ["a", "b"]), {"level": "debug"}),
    "record_step": Method("leases.step", (LEASE, "charge", {"id": "ch_1"})),
    "complete_attempt": Method("leases.complete", (LEASE, 1), {"cpu_seconds": 0.1, "units": {"tokens": 8}}),
    "fail_attempt": Method("leases.fail", (LEASE, "SmtpError", "451"), {
        "traceback": "at 1", "kind": "smtp", "retry_after_seconds": 5.0, "never_retry": True, "cpu_seconds": 0.1,
        "units": {"tokens": 8},
    }),
    "snooze_attempt": Method("leases.snooze", (LEASE, 5.0), {"reason": "r"}),
    "release_attempt": Method("leases.release", (LEASE,), {"reason": "r"}),
    "list_keys": Method("keys.list", (), {"limit": 5}),
    "create_key": Method("keys.create", ("billing", [{"role": "emitter"}]), {
        "reason": "r", "technical": True, "expires_at": NOON,
    }),
    "rotate_key": Method("keys.rotate", ("4k2m",), {"expires_at": NOON, "previous_expires_at": NOON, "reason": "r"}),
    "revoke_key": Method("keys.revoke", ("4k2m",), {"reason": "r"}),
    "list_projections": Method("projections.list"),
    "rebuild_projection": Method("projections.rebuild", ("tenant_jobs",), {
        "reason": "r", "dry_run": True, "cores": 0.5, "tenant": "acme", "job": JOB,
    }),
    "verify_projection": Method("projections.verify", ("tenant_jobs",), {
        "reason": "r", "cores": 0.5, "tenant": "acme", "job": JOB,
    }),
    "cancel_rebuild": Method("projections.cancel", ("tenant_jobs",), {"reason": "r"}),
    "drop_previous": Method("projections.drop_previous", ("tenant_jobs",), {"reason": "r"}),
    "get_projection_operation": Method("projections.operation", ("o.1",)),
    "replay_events": Method("audit.export", (), {**REPLAYED, "format": "csv"}),
    "get_export": Method("audit.exported", (JOB,)),
    "list_actions": Method("audit.actions", (), {
        "tenant": "acme", "since": NOON, "until": NOON, "actor": "key:a", "limit": 5,
    }),
}  # fmt: skip
LEFT_OUT: Mapping[str, str] = {
    "livez": "asked by what starts and stops servers", "readyz": "asked by what sends requests to servers",
}  # fmt: skip
SAID_OTHERWISE: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(
        ("list_jobs", "list_persona_jobs", "list_dlq", "list_keys", "list_actions"), frozenset({"cursor"})
    ),
    **dict.fromkeys(("follow_job", "follow_jobs"), frozenset({"after"})),
}  # fmt: skip
"""What iterators say with their second page only, or in a header."""
IN_BODIES = {"Idempotency-Key"}
"""Headers that say what a member of the body says, too."""


class Operation(NamedTuple):
    """As the document has it."""

    method: str
    path: str
    said: Mapping[str, Any]


OPERATIONS: Mapping[str, Operation] = {
    said["operationId"]: Operation(method.upper(), path, said)
    for path, methods in DOCUMENT["paths"].items()
    for method, said in methods.items()
}


def method_of(client: object, name: str) -> Callable[..., object]:
    """`jobs.list` of a client."""
    for part in name.split("."):
        client = getattr(client, part)
    assert callable(client)
    return client


def test_every_operation_has_a_method() -> None:
    """Or a reason to have none; there is no method for what the document has not."""
    assert set(METHODS) | set(LEFT_OUT) == set(OPERATIONS)
    assert not set(METHODS) & set(LEFT_OUT)
    script = Script(problem(404))
    asynchronous_client = asynchronous.AsyncClient("http://jobs.test", "k")
    for method in METHODS.values():
        assert method_of(client_of(script), method.name).__doc__
        assert method_of(asynchronous_client, method.name).__doc__


def test_every_method_is_on_the_page() -> None:
    """With the part that it belongs to."""
    text = (ROOT / "docs" / "how-to" / "use-the-client.md").read_text(encoding="utf-8")
    table = [line for line in text.splitlines() if line.startswith("| `client")]
    for method in METHODS.values():
        part, _, name = f"client.{method.name}".rpartition(".")
        assert any(f"`{part}`" in line and f"`{name}`" in line for line in table) or name in ("list", "register")


@pytest.mark.parametrize("name", METHODS)
def test_the_method_asks_the_operation(name: str) -> None:
    """Its method, its path, each parameter of its query, each of its headers; the body is one that its model takes."""
    method, operation = METHODS[name], OPERATIONS[name]
    script = Script(problem(404))
    with pytest.raises(ApiProblem):
        ended(method_of(client_of(script), method.name)(*method.args, **method.options))
    (request,) = script.requests
    assert request.method == operation.method
    parts = [re.escape(part) if number % 2 == 0 else "[^/]+" for number, part in enumerate(_split(operation.path))]
    assert re.fullmatch("".join(parts), request.url.raw_path.decode().partition("?")[0])
    assert says(request, "query") == named(operation, "query") - SAID_OTHERWISE.get(name, frozenset())
    assert says(request, "header") >= named(operation, "header") - IN_BODIES


def ended(answer: object) -> None:
    """What iterates is asked for its first item."""
    if isinstance(answer, Generator):
        next(answer)


def _split(path: str) -> list[str]:
    return re.split(r"\{([^}]+)\}", path)


def named(operation: Operation, place: str) -> set[str]:
    """Parameters of an operation."""
    return {one["name"] for one in operation.said.get("parameters", ()) if one["in"] == place} - {"wait_seconds"}


def says(request: httpx.Request, place: str) -> set[str]:
    """Parameters of a request."""
    if place == "query":
        return set(request.url.params) - {"wait_seconds"}
    spelled = {each.lower(): each for each in ("If-Match", "Last-Event-ID", "Idempotency-Key")}
    return {spelled[each] for each in request.headers if each in spelled}
