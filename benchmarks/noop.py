"""The job that does nothing: what it costs is the system's."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection

from pydantic import BaseModel

from jobledger import App, Dispatch, JobContext

TENANTS = tuple(f"tenant-{number:02}" for number in range(20))
NOOP = "noop"
PICKUP = "pickup"
SHORT = "short"
REPORTS = "reports"
SHORT_SECONDS = 0.005

app = App("benchmarks")


class Order(BaseModel):
    """About 200 bytes as JSON."""

    n: int
    email: str
    note: str


@app.job(NOOP, effects="none")
def noop(context: JobContext, order: Order) -> None:
    """Do nothing."""


@app.job(SHORT, effects="none")
def short(context: JobContext, order: Order) -> None:
    """Wait for five milliseconds, as for a database."""
    time.sleep(SHORT_SECONDS)


@app.job(REPORTS, effects="none")
def reports(context: JobContext, order: Order) -> None:
    """Report progress once."""
    context.progress(0.5, "half of it")


class Reporting:
    """Where the pickup job says that it began; set in the process that runs it."""

    pipe: Connection | None = None


@app.job(PICKUP, effects="none")
def pickup(context: JobContext, order: Order) -> None:
    """Say when the handler began, on the clock that all processes of the machine share."""
    began_at = time.monotonic()
    if Reporting.pipe is not None:
        Reporting.pipe.send((order.n, began_at))


def item(number: int, tenant: str, *, job_type: str = NOOP, key: str | None = None) -> Dispatch:
    """A dispatch with a payload of 200 bytes, as a service would ask for it."""
    payload = {"n": number, "email": "someone@example.com", "note": "x" * 150}
    return Dispatch(job_type, payload, tenant=tenant, persona="bot", idempotency_key=key)


def reporting_pipe() -> tuple[Connection, Connection]:
    """Where reports arrive, and where they are sent."""
    return multiprocessing.get_context("spawn").Pipe(duplex=False)
