"""A small application for tests: a job type for each way in which an attempt can go."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from jobledger import App, JobContext, Retry
from jobledger.domain.errors import NeverRetry
from jobledger.domain.rate_card import RateCard

_POLL_SECONDS = 0.01
_AT_ONCE = Retry.fixed(max_attempts=3, base_seconds=0)

app = App("sample", code_version="sample-1")


class Message(BaseModel):
    """What `sample.ok` and `sample.async` echo."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=10_000)
    number: int = 0


class Echo(BaseModel):
    """The result of an echo."""

    echo: str
    tenant: str


class Flaky(BaseModel):
    """Fails in the first `failures` attempts."""

    failures: int = Field(ge=0, le=10)


class Gate(BaseModel):
    """Makes the file `started`, then waits for the file `release` (or to be asked to stop)."""

    started: Path
    release: Path


class Steps(BaseModel):
    """Each step that really runs adds a line to `file`; the attempt fails after the first `fail_after` steps once."""

    file: Path
    fail_after: int = 0


@app.job("sample.ok", effects="none", timeout_seconds=30, rate_card=RateCard(version="2026-01", per_attempt=0.01))
def ok(context: JobContext, payload: Message) -> Echo:
    """Echo the text."""
    context.progress(1.0, "echoed")
    return Echo(echo=payload.text, tenant=context.tenant)


@app.job("sample.async", effects="none", timeout_seconds=30)
async def async_ok(context: JobContext, payload: Message) -> Echo:
    """Echo the text from a coroutine."""
    await asyncio.sleep(0)
    return Echo(echo=payload.text, tenant=context.tenant)


@app.job("sample.keyed", idempotency_key="text", queue="keyed", timeout_seconds=30)
def keyed(context: JobContext, payload: Message) -> Echo:
    """Echo the text, once per text."""
    return Echo(echo=payload.text, tenant=context.tenant)


@app.job("sample.flaky", effects="none", timeout_seconds=30, retry=_AT_ONCE)
def flaky(context: JobContext, payload: Flaky) -> dict[str, int]:
    """Fail in the first attempts, then succeed."""
    if context.attempt <= payload.failures:
        raise ConnectionError(f"the provider hung up (attempt {context.attempt})")
    return {"attempt": context.attempt}


@app.job("sample.failing", effects="none", timeout_seconds=30, retry=_AT_ONCE)
def failing(context: JobContext, payload: Message) -> None:
    """Always fail."""
    context.log("about to fail", number=payload.number)
    raise RuntimeError("this never works")


@app.job("sample.hopeless", effects="none", timeout_seconds=30, retry=_AT_ONCE)
def hopeless(_context: JobContext, payload: Message) -> None:
    """Fail in a way that no retry can mend."""
    raise NeverRetry(f"the account is closed: {payload.number}")


@app.job("sample.slow", effects="none", timeout_seconds=30, retry=_AT_ONCE)
def slow(context: JobContext, payload: Gate) -> str:
    """Say that it runs, then wait for its gate."""
    payload.started.touch()
    while not payload.release.exists():
        context.check_cancelled()
        time.sleep(_POLL_SECONDS)
    return "released"


@app.job("sample.steps", effects="steps", timeout_seconds=30, retry=_AT_ONCE)
def steps(context: JobContext, payload: Steps) -> list[str]:
    """Three recorded steps; whatever is retried, none of them runs twice."""
    done: list[str] = []
    for number, name in enumerate(("first", "second", "third"), start=1):
        done.append(context.step(name, lambda name=name: _append(payload.file, name)))  # type: ignore[misc]
        if number == payload.fail_after and context.attempt == 1:
            raise RuntimeError(f"after step {name}")
    return done


def _append(file: Path, name: str) -> str:
    with file.open("a", encoding="utf-8") as lines:
        lines.write(f"{name}\n")
    return name
