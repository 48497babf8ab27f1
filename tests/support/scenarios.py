"""A job type for each way in which attempts go, to be run by two workers whose ledgers are then compared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydantic import BaseModel

from jobledger import (
    App,
    Dispatch,
    JobContext,
    LedgerClient,
    NeverRetry,
    RateCard,
    Receipt,
    Retry,
    RetryAfter,
    Snooze,
)

SOON = Retry.fixed(max_attempts=3, base_seconds=0.01)
POLL_SECONDS = 0.01

app = App("scenarios", code_version="1")


class Note(BaseModel):
    """The payload of every type."""

    text: str = ""


Act = Callable[[LedgerClient, str, Sequence[Receipt]], None]


class Scenario(NamedTuple):
    """Jobs that are dispatched for a tenant, and what else is done before they run."""

    job_types: tuple[str, ...]
    before: Act | None = None


@app.job("plain", effects="none", timeout_seconds=30, rate_card=RateCard(version="1", per_unit={"tokens": 0.5}))
def plain(context: JobContext, payload: Note) -> dict[str, str]:
    """Reports, logs and completes."""
    context.log("begun", text=payload.text)
    context.progress(0.5, "half")
    context.progress(1.0, "all")
    context.usage(tokens=2)
    return {"text": payload.text}


@app.job("coroutine", effects="steps", timeout_seconds=30, retry=SOON)
async def coroutine(context: JobContext, payload: Note) -> int:
    """A recorded step, then one failure."""
    answer = await context.step_async("ask", _answer)
    context.log("asked")
    if context.attempt == 1:
        raise ConnectionError("gone")
    return answer


@app.job("flaky", effects="none", timeout_seconds=30, retry=SOON)
def flaky(context: JobContext, payload: Note) -> int:
    """Succeeds in its third attempt."""
    if context.attempt < 3:
        raise ConnectionError(f"attempt {context.attempt}")
    return context.attempt


@app.job("failing", effects="none", timeout_seconds=30, retry=SOON)
def failing(context: JobContext, payload: Note) -> None:
    """Never succeeds."""
    context.log("about to fail", level="warning")
    raise RuntimeError("this never works")


@app.job("hopeless", effects="none", timeout_seconds=30, retry=SOON)
def hopeless(context: JobContext, payload: Note) -> None:
    """Says that no retry helps."""
    raise NeverRetry("the account is closed")


@app.job("impatient", effects="none", timeout_seconds=30, retry=Retry.fixed(max_attempts=2, base_seconds=3_000))
def impatient(context: JobContext, payload: Note) -> None:
    """Asks for a retry sooner than its policy."""
    if context.attempt == 1:
        raise RetryAfter(0.01, "soon")


@app.job("sleepy", effects="none", timeout_seconds=30, retry=Retry.fixed(max_attempts=1, base_seconds=1))
def sleepy(context: JobContext, payload: Note) -> None:
    """Is put off twice before its only attempt counts."""
    if context.attempt < 3:
        raise Snooze(0.01, "not yet")


@app.job("stepwise", effects="steps", timeout_seconds=30, retry=SOON)
def stepwise(context: JobContext, payload: Note) -> list[int]:
    """Fails between its steps."""
    first = context.step("first", lambda: 1)
    if context.attempt == 1:
        raise RuntimeError("between the steps")
    return [first, context.step("second", lambda: 2)]


@app.job("parent", effects="none", timeout_seconds=30, retry=SOON)
def parent(context: JobContext, payload: Note) -> None:
    """Dispatches two children, the same ones in both of its attempts."""
    context.dispatch(Dispatch("child", {"text": "a"}), Dispatch("child", {"text": "b"}))
    if context.attempt == 1:
        raise RuntimeError("after the children")


@app.job("child", effects="none", timeout_seconds=30)
def child(context: JobContext, payload: Note) -> str:
    """Completes."""
    return payload.text


@app.job("misfit", effects="none", timeout_seconds=30, retry=SOON)
def misfit(context: JobContext, payload: Note) -> int:
    """Returns what its annotation does not say."""
    return "text"  # type: ignore[return-value]  # that is the point


@app.job("exiting", effects="none", timeout_seconds=30, retry=Retry.fixed(max_attempts=1, base_seconds=1))
def exiting(context: JobContext, payload: Note) -> None:
    """Would end the process."""
    raise SystemExit(3)


@app.job("locked", effects="none", timeout_seconds=30, lock_key="one", retry=SOON)
def locked(context: JobContext, payload: Note) -> None:
    """One at a time."""


@app.job("cancelling", effects="none", timeout_seconds=30)
def cancelling(context: JobContext, payload: Note) -> None:
    """Is cancelled while it runs."""
    cancel(context)
    while True:
        context.check_cancelled()
        time.sleep(POLL_SECONDS)


@app.job("cancelling.coroutine", effects="none", timeout_seconds=30)
async def cancelling_async(context: JobContext, payload: Note) -> None:
    """Is cancelled while it waits."""
    await asyncio.to_thread(cancel, context)
    await asyncio.sleep(600)


@app.job("patient", effects="none", timeout_seconds=30)
def patient(context: JobContext, payload: Note) -> None:
    """Puts itself off once."""
    if context.attempt == 1:
        context.snooze(0.01, "not yet")


@app.job("secluded", effects="steps", timeout_seconds=30, isolation="process", retry=SOON)
def secluded(context: JobContext, payload: Note) -> int:
    """Runs in a child process, in production."""
    context.log("from a child")
    answer = context.step("ask", lambda: 42)
    if context.attempt == 1:
        raise ConnectionError("gone")
    return answer


async def _answer() -> int:
    return 42


clients: list[LedgerClient] = []
"""The last one is that of the ledger whose jobs run now: whoever runs the scenarios sets it."""


def cancel(context: JobContext) -> None:
    """Somebody cancels the job that runs."""
    clients[-1].jobs.cancel(context.job_id, tenant=context.tenant, reason="not wanted any more")


def _suspend(ledger: LedgerClient, tenant: str, receipts: Sequence[Receipt]) -> None:
    ledger.tenants.suspend(tenant, reason="did not pay")


def _cancel(ledger: LedgerClient, tenant: str, receipts: Sequence[Receipt]) -> None:
    for receipt in receipts:
        ledger.jobs.cancel(receipt.job_id, tenant=tenant, reason="not wanted")


SCENARIOS = {
    **{name.replace(".", "-"): Scenario((name,)) for name in app.jobs if name not in ("child", "locked")},
    "same-lock": Scenario(("locked", "locked", "locked")),
    "suspended": Scenario(("plain", "flaky"), _suspend),
    "cancelled-early": Scenario(("plain",), _cancel),
}


def dispatch_all(ledger: LedgerClient) -> None:
    """Dispatch the jobs of every scenario, for a tenant of that name."""
    for tenant, scenario in SCENARIOS.items():
        ledger.tenants.create(tenant)
        receipts = [
            ledger.dispatch(job_type, {"text": str(number)}, tenant=tenant)
            for number, job_type in enumerate(scenario.job_types)
        ]
        if scenario.before is not None:
            scenario.before(ledger, tenant, receipts)
