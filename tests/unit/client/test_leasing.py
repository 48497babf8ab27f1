"""What is said again for a worker whose answer got lost, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from jobledger.client import Client, Lease, Leases, Unreachable

from .scripted import Script, client_of, problem

_EXTRA: Any = Leases.model_config["json_schema_extra"]
LEASE: Lease = Leases.model_validate(_EXTRA["examples"][0]).leases[0]
LOST = httpx.ReadError("the connection was lost")

ENDED = {
    "job_id": str(LEASE.job_id), "attempt": 1, "ending": "completed", "status": "completed", "error": None,
    "repeated": True, "position": None,
}  # fmt: skip
REPORTED = {"recorded": True, "cancel_requested": False}
BEAT = {"held": [], "forgotten": [], "lease_seconds": 30.0, "renew_within_seconds": 10.0}
RECORDED = {"step": "charge", "key": "k", "output": 1, "already": True}


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda client: client.leases.heartbeat("w", [LEASE]), BEAT),
        (lambda client: client.leases.progress(LEASE, 0.5), REPORTED),
        (lambda client: client.leases.step(LEASE, "charge", 1), RECORDED),
        (lambda client: client.leases.complete(LEASE, 1), ENDED),
        (lambda client: client.leases.fail(LEASE, "SmtpError"), ENDED),
        (lambda client: client.leases.snooze(LEASE, 5.0), ENDED),
        (lambda client: client.leases.release(LEASE), ENDED),
        (lambda client: client.leases.retire("w"), {"given_back": 0}),
    ],
)
def test_what_changes_nothing_twice_is_said_again(ask: Callable[[Client], object], answer: dict[str, Any]) -> None:
    """In the same words, until it is heard."""
    script = Script(LOST, problem(503), httpx.Response(200, json=answer))
    ask(client_of(script))
    assert len(script.requests) == 3
    assert len({request.content for request in script.requests}) == 1


@pytest.mark.parametrize(
    "ask", [lambda client: client.leases.claim("w"), lambda client: client.leases.log(LEASE, "page 1")]
)
def test_what_would_be_done_twice_is_not(ask: Callable[[Client], object]) -> None:
    """Who asked is told that nobody knows."""
    script = Script(LOST)
    with pytest.raises(Unreachable):
        ask(client_of(script))
    assert len(script.requests) == 1


def test_a_claim_waits_as_long_as_it_says() -> None:
    """Before the answer is given up."""
    script = Script(httpx.Response(200, json={"leases": [], "look_again_seconds": 4.0}))
    assert client_of(script).leases.claim("w", wait_seconds=20).look_again_seconds == 4.0
    assert script.requests[0].extensions["timeout"]["read"] == 50.0


def test_a_worker_is_named_without_its_identity() -> None:
    """The ledger puts that in front."""
    script = Script(httpx.Response(200, json=ENDED))
    client_of(script).leases.complete(LEASE, {"sent": True})
    assert LEASE.worker.endswith(f"/{script.bodies()[0]['worker']}")
