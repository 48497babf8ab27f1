"""The job types of the soak: effects outside the ledger, and handlers that say when to kill their worker.

An effect is a line in the file `effects` of the worker's own folder, written with one call: a kill leaves it there or
not. A handler that is to be killed at a certain moment announces it on the driver's pipe, and waits.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from functools import cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from jobledger import App, JobContext, Retry
from jobledger.domain.errors import Snooze

EFFECTS, PIPE = "effects", "driver"
ANNOUNCED_SECONDS = 30.0
"""How long a handler waits to be killed."""

_RETRIED = Retry.fixed(max_attempts=3, base_seconds=0.2)

app = App("soak", code_version="soak-1")


class Work(BaseModel):
    """How long the handler takes, in its steps or besides; the number makes the payload its own."""

    model_config = ConfigDict(extra="forbid")

    number: int
    milliseconds: float = Field(default=0.0, ge=0)


class Cut(BaseModel):
    """Where to be killed: between a step's effect and its record, or between the record and the attempt's ending; in
    so many attempts."""

    number: int
    where: Literal["effect", "record"]
    times: int = 1


@app.job("soak.plain", effects="none", timeout_seconds=60)
def plain(context: JobContext, payload: Work) -> int:
    """Some work without steps."""
    if payload.number % 5 == 0:
        context.progress(0.5, "half way")
        context.log("half way", number=payload.number)
    time.sleep(payload.milliseconds / 1_000)
    return payload.number


@app.job("soak.steps", effects="steps", timeout_seconds=60)
def steps(context: JobContext, payload: Work) -> list[str]:
    """Two effects, each recorded."""
    return [context.step(name, lambda name=name: _effect(context, name, payload)) for name in ("charge", "mail")]  # type: ignore[misc]


@app.job("soak.async", effects="steps", timeout_seconds=60)
async def async_steps(context: JobContext, payload: Work) -> list[str]:
    """The same from a coroutine."""

    async def effect(name: str) -> str:
        await asyncio.sleep(payload.milliseconds / 1_000)
        return _write(context, name, payload.number)

    return [await context.step_async(name, lambda name=name: effect(name)) for name in ("charge", "mail")]  # type: ignore[misc]


@app.job("soak.keyed", effects="steps", timeout_seconds=60, lock_key="{number}")
def keyed(context: JobContext, payload: Work) -> str:
    """One of its number at a time."""
    return context.step("charge", lambda: _effect(context, "charge", payload))


@app.job("soak.flaky", effects="steps", timeout_seconds=60, retry=_RETRIED)
def flaky(context: JobContext, payload: Work) -> str:
    """The first attempt fails after its effect was recorded."""
    done = context.step("charge", lambda: _effect(context, "charge", payload))
    if context.attempt == 1:
        raise ConnectionError("the provider hung up")
    return done


@app.job("soak.hopeless", effects="none", timeout_seconds=60, retry=_RETRIED)
def hopeless(_context: JobContext, payload: Work) -> None:
    """Always fails."""
    raise RuntimeError(f"this never works: {payload.number}")


@app.job("soak.snooze", effects="none", timeout_seconds=60)
def snooze(context: JobContext, payload: Work) -> int:
    """Not in the first attempt."""
    if context.attempt == 1:
        raise Snooze(0.5, "not now")
    return payload.number


@app.job("soak.cut", effects="steps", timeout_seconds=60, max_stalled=8)
def cut(context: JobContext, payload: Cut) -> str:
    """Have the worker killed, the first times, at the moment that matters."""
    killing = context.attempt <= payload.times

    def charge() -> str:
        done = _write(context, "charge", payload.number)
        if killing and payload.where == "effect":
            _announce(context)
        return done

    done = context.step("charge", charge)
    if killing and payload.where == "record":
        _announce(context)
    return done


@app.job("soak.process", effects="steps", timeout_seconds=60, isolation="process")
def in_process(context: JobContext, payload: Work) -> list[str]:
    """The two effects from a child process."""
    return [context.step(name, lambda name=name: _effect(context, name, payload)) for name in ("charge", "mail")]  # type: ignore[misc]


@app.job("soak.crash", effects="steps", timeout_seconds=60, isolation="process", retry=_RETRIED)
def crash(context: JobContext, payload: Work) -> str:
    """The child process ends between the effect and its record, the first time."""

    def charge() -> str:
        done = _effect(context, "charge", payload)
        if context.attempt == 1:
            os._exit(9)
        return done

    return context.step("charge", charge)


@app.job("soak.poison", effects="none", timeout_seconds=60)
def poison(_context: JobContext, _payload: Work) -> None:
    """Kill the worker."""
    os.kill(os.getpid(), signal.SIGKILL)


def _effect(context: JobContext, step: str, payload: Work) -> str:
    time.sleep(payload.milliseconds / 1_000)
    return _write(context, step, payload.number)


def _write(context: JobContext, step: str, number: int) -> str:
    os.write(_effects(), f"{context.job_id} {context.attempt} {step}\n".encode())
    return f"{step} of {number}"


def _announce(context: JobContext) -> None:
    pipe = os.open(PIPE, os.O_WRONLY)
    os.write(pipe, f"{os.getpid()} {context.job_id} {context.attempt}\n".encode())
    time.sleep(ANNOUNCED_SECONDS)


@cache
def _effects() -> int:
    return os.open(EFFECTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
