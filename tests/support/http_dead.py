"""Dead jobs for tests over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from jobledger import Dispatch, Ledger
from jobledger.infrastructure.service import make_maintenance

from .http_keys import key_for
from .server import RunningServer


@contextmanager
def worker_of(server: RunningServer, client: httpx.Client) -> Iterator[httpx.Client]:
    """A worker's client."""
    with server.client(key_for(client, "worker").credential) as worker:
        yield worker


def die(
    client: httpx.Client,
    worker: httpx.Client,
    count: int = 1,
    *,
    tenant: str = "acme",
    error_type: str = "GatewayDown",
    **job: object,
) -> list[str]:
    """Jobs that a worker takes and gives up for good; the list shows them."""
    died, position = [], ""
    for number in range(count):
        body = {"type": "number.double", "payload": {"number": number}, **job}
        job_id = client.post(f"/v1/tenants/{tenant}/jobs", json=body).json()["job_id"]
        claim = {"worker": "w-dead", "queues": [job.get("queue", "default")], "tenants": [tenant], "wait_seconds": 5}
        (lease,) = worker.post("/v1/leases/claim", json=claim).json()["leases"]
        assert lease["job_id"] == job_id
        said = {"worker": "w-dead", "error_type": error_type, "message": "no answer", "never_retry": True}
        failed = worker.post(f"{lease['path']}/fail", json={**said, "traceback": "line 1\nline 2"})
        assert failed.status_code == 200, failed.text
        position = failed.headers["Jobledger-Position"]
        died.append(job_id)
    shown = client.get(f"/v1/tenants/{tenant}/dlq", params={"after": position, "limit": 1})
    assert shown.status_code == 200, shown.text
    return died


def bury(database: str, count: int, *, tenant: str = "acme") -> None:
    """Many dead jobs at once: what waits while its tenant is suspended dies without running."""
    with Ledger.open(database) as ledger:
        items = [Dispatch("number.double", {"number": number}, tenant, queue="buried") for number in range(count)]
        assert all(result.is_accepted for result in ledger.dispatch_many(items))
        ledger.tenants.suspend(tenant, reason="a test")
        chores = make_maintenance(ledger._handle, actor="test:maintenance")
        while chores.run_once():
            pass
        ledger.tenants.resume(tenant, reason="a test")
