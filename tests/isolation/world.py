"""Two tenants with everything that a tenant can have, and a server in this process whose statements are recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Final, NamedTuple

import httpx
import pytest
from pydantic import BaseModel

from jobledger import App, JobContext
from jobledger.application.accesses import Accesses
from jobledger.infrastructure.bootstrap import LedgerHandle, open_ledger
from jobledger.infrastructure.identities import ensure_admin_key
from jobledger.infrastructure.metrics import serving_server_metrics
from jobledger.infrastructure.projecting import make_runner
from jobledger.infrastructure.service import publish_types
from jobledger.infrastructure.settings import load
from jobledger.infrastructure.web import Place, serving
from tests.support.http_keys import key_for
from tests.support.watched_worker import WAIT_SECONDS

from .asking import Names

app = App("isolation", code_version="1")


class Text(BaseModel):
    """Something that is nobody else's business."""

    text: str


class Number(BaseModel):
    """A number."""

    number: int = 0


@app.job("text.keep", effects="none", timeout_seconds=600)
def keep(_context: JobContext, payload: Text) -> dict[str, str]:
    """The same text."""
    return {"text": payload.text}


@app.job("number.double", effects="none", timeout_seconds=600)
def double(_context: JobContext, payload: Number) -> dict[str, int]:
    """Twice the number."""
    return {"number": payload.number * 2}


A, B, NOBODY = "acme", "beta", "zeta"
MARKER: Final = "zzmarked"
"""Stands in whatever `B` keeps to itself, and in nothing that `A` sends."""
EVERYTHING: Final = ("emitter", "worker", "operator", "auditor", "admin")
_MORE: Final = {"operator": ["payloads.read", "dlq.requeue"]}
_WHY: Final = {"reason": "a test"}


@dataclass(frozen=True)
class World:
    """A server, an administrator, and what both tenants have. `absent` are names that do not exist."""

    handle: LedgerHandle
    url: str
    metrics_url: str
    """Where scrapers ask, who say not who they are."""
    admin_key: str
    own: Names
    theirs: Names
    absent: Names
    keys: Mapping[str, str]
    """By role: keys of `A`; `everything` has all roles for that tenant."""
    settle: Callable[[], None]
    """Lets the lists catch up."""

    @contextmanager
    def client(self, key: str) -> Iterator[httpx.Client]:
        """A client with a key; every request has the same id."""
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=self.url, headers=headers, timeout=WAIT_SECONDS) as client:
            yield client


@contextmanager
def a_world(database: str) -> Iterator[World]:
    """On a ledger that is there already, and empty."""
    settings = load(database=database, log_level="debug", metrics_port=0)
    with ExitStack() as ending:
        # what is recorded a moment later would be found among the statements of whatever is asked then
        ending.enter_context(pytest.MonkeyPatch.context()).setattr(Accesses, "record_later", Accesses.record)
        handle = ending.enter_context(closing(open_ledger(settings, app=app)))
        publish_types(handle, app)
        runner = make_runner(handle)
        runner.start()
        ending.callback(runner.stop)
        key = ensure_admin_key(handle)
        server = ending.enter_context(serving(handle, Place("127.0.0.1")))
        scraped = ending.enter_context(serving_server_metrics(handle, server, settings, {"projections": runner}))
        assert key is not None and server.url is not None and scraped is not None
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=WAIT_SECONDS) as one:
            own, theirs = _furnish(one, A, "plain"), _furnish(one, B, MARKER)
            keys = {role: made_key(one, role)[0] for role in (*EVERYTHING, "everything")}

        def settle() -> None:
            assert runner.wait_for(handle.event_source.head(), WAIT_SECONDS)

        yield World(handle, server.url, scraped.url, key, own, theirs, absent_of(theirs), keys, settle)


def made_key(admin: httpx.Client, role: str, queues: list[str] | None = None) -> tuple[str, str]:
    """A new key of `A`, for these queues, and its identity."""
    roles = EVERYTHING if role == "everything" else (role,)
    grants = [{"role": one, "tenants": [A], "queues": queues, "extra": _MORE.get(one, [])} for one in roles]
    made = admin.post("/v1/keys", json={"name": f"A's {role}", "grants": grants, **_WHY})
    assert made.status_code == 201, made.text
    return made.json()["credential"], made.json()["key"]["identity"]


def absent_of(theirs: Names) -> Names:
    """As long as those that exist, letter by letter of the same kind, so that only whether they exist differs."""
    made = {each.name: _other(getattr(theirs, each.name)) for each in fields(Names)}
    return replace(Names(**made), tenant=NOBODY, event=f"{made['job']}.1")


def _other(name: str) -> str:
    """Another name of the same form: the last characters turned round within their kind."""
    turned = {**dict(zip("0123456789", "1234567890", strict=True)), **dict(zip("abcdef", "bcdefa", strict=True))}
    head, tail = name[:-6], name[-6:]
    letters = "".join(turned.get(letter, letter) for letter in tail)
    return head + letters if letters != tail else f"{name[:-1]}{'x' if name[-1] != 'x' else 'y'}"


# --- what a tenant has -----------------------------------------------------------------------------------------------


def _furnish(admin: httpx.Client, tenant: str, secret: str) -> Names:
    """Jobs in every state, with payloads, results and errors; limits, an operation, an export, a key."""
    _done(admin.post("/v1/tenants", json={"name": tenant, "display_name": f"{secret} & Sons", **_WHY}))
    place, word = f"/v1/tenants/{tenant}", tenant[:1]
    queue, worker = f"queue-{word}1", f"works-{word}1"
    emitter = {"queue": queue, "persona": f"person-{word}1"}
    key = key_for(admin, "worker", tenants=[tenant])
    with httpx.Client(base_url=admin.base_url, headers={"Authorization": f"Bearer {key.credential}"}) as working:
        making = _Making(admin, working, place, secret)
        _finish(making, queue)
        _die(making, queue, worker)
        operation = _discard_all(admin, place, queue)
        dead = _die(making, queue, worker)
        running = _start(making, worker, f"queue-{word}2", emitter["persona"])
    jobs = [_dispatch(admin, place, secret, **emitter, **_about(word), number=number) for number in range(3)]
    _dispatch(admin, place, secret, queue=queue, delay_seconds=3_000, causation_id=f"{jobs[0]['job_id']}.1")
    _limit(admin, tenant, word, secret)
    after = jobs[-1]["position"]
    listed = _done(admin.get(f"{place}/jobs", params={"limit": "1", "after": after}))
    exported = admin.get("/v1/audit/events", params={"tenant": tenant, **_WHY})
    return Names(
        tenant=tenant, job=jobs[0]["job_id"], dead=dead, running=running, persona=emitter["persona"], queue=queue,
        limit_key=f"gateway-{word}1", request=f"request-{word}1", idempotency_key=f"order-{word}1",
        operation=operation, export=exported.headers["Jobledger-Export-Id"], key_id=key.key_id,
        cursor=listed["next_cursor"], worker=worker, event=f"{jobs[0]['job_id']}.1",
    )  # fmt: skip


def _about(word: str) -> dict[str, str]:
    return {"correlation_id": f"request-{word}1", "lock_key": f"gateway-{word}1", "limit_key": f"gateway-{word}1"}


def _dispatch(admin: httpx.Client, place: str, secret: str, *, number: int = 0, **about: object) -> dict[str, Any]:
    """A job of a persona whose name is a secret, too, unless another is named."""
    key = {"idempotency_key": f"order-{place[12]}{number + 1}"} if "lock_key" in about else {}
    body = {"type": "text.keep", "payload": {"text": secret}, "persona": f"{secret}-persona", **key, **about}
    return _done(admin.post(f"{place}/jobs", json=body))


def _claim(working: httpx.Client, worker: str, queue: str, limit: int = 1) -> list[dict[str, Any]]:
    claim = {"worker": worker, "queues": [queue], "limit": limit, "wait_seconds": 10, "lease_seconds": 600}
    leases: list[dict[str, Any]] = _done(working.post("/v1/leases/claim", json=claim))["leases"]
    assert leases
    return leases


class _Making(NamedTuple):
    """What makes a tenant's things: an administrator, a worker, where, and what they hold."""

    admin: httpx.Client
    working: httpx.Client
    place: str
    secret: str


def _finish(making: _Making, queue: str) -> None:
    admin, working, place, secret = making
    _dispatch(admin, place, secret, queue=queue)
    (lease,) = _claim(working, "finisher", queue)
    _done(working.post(f"{lease['path']}/log", json={"worker": "finisher", "lines": [f"log {secret}"]}))
    _done(working.post(f"{lease['path']}/step", json={"worker": "finisher", "step": "s", "output": secret}))
    _done(working.post(f"{lease['path']}/complete", json={"worker": "finisher", "result": {"text": secret}}))


def _die(making: _Making, queue: str, worker: str) -> str:
    """A job that failed for good, with an error of its own."""
    admin, working, place, secret = making
    error = {"error_type": f"{secret}Error", "message": f"about {secret}", "traceback": f"in {secret}"}
    _dispatch(admin, place, secret, queue=queue, persona=f"person-{place[12]}1")
    (lease,) = _claim(working, worker, queue)
    _done(working.post(f"{lease['path']}/fail", json={"worker": worker, "never_retry": True, **error}))
    return str(lease["job_id"])


def _discard_all(admin: httpx.Client, place: str, queue: str) -> str:
    """An operation on all jobs that are dead."""
    counted = _done(admin.get(f"{place}/dlq/count", params={"queue": queue}))
    body = {"filter": {"queue": queue, "until": counted["until"]}, "expected_count": counted["count"], **_WHY}
    operation: str = _done(admin.post(f"{place}/dlq/discard", json=body))["operation_id"]
    while _done(admin.get(f"{place}/operations/{operation}"))["status"] == "running":
        pass
    return operation


def _start(making: _Making, worker: str, queue: str, persona: str) -> str:
    admin, working, place, secret = making
    _dispatch(admin, place, secret, queue=queue, persona=persona)
    (lease,) = _claim(working, worker, queue)
    return str(lease["job_id"])


def _limit(admin: httpx.Client, tenant: str, word: str, secret: str) -> None:
    for place, params in (
        (f"tenant/{tenant}", {}), (f"persona/person-{word}1", {"tenant": tenant}),
        (f"key/gateway-{word}1", {"tenant": tenant}), (f"queue/queue-{word}1", {}),
    ):  # fmt: skip
        body = {"concurrency": 5, "reason": f"because {secret}"}
        _done(admin.put(f"/v1/limits/{place}", params=params, json=body))


def _done(answered: httpx.Response) -> dict[str, Any]:
    assert answered.is_success, answered.text
    answer: dict[str, Any] = json.loads(answered.text)
    return answer
