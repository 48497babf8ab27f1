"""An application whose handlers do to their process what no handler should: fork, close its streams, leave its loop."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from jobledger import App, JobContext, Retry

app = App("bad", code_version="1")


class Where(BaseModel):
    """Where a handler leaves traces."""

    directory: str


def trace(where: Where, name: str) -> None:
    """Leave a trace of who came by: one line a process."""
    with (Path(where.directory) / name).open("a") as file:
        file.write(f"{os.getpid()}\n")


@app.job("bad.healthy", effects="none", retry=Retry.never())
def healthy(context: JobContext, payload: Where) -> int:
    """A job like any."""
    trace(payload, "healthy")
    sys.stdout.write("healthy\n")  # whoever prints must not suffer from what others closed
    sys.stdout.flush()
    return os.getpid()


def _fork_and_return(context: JobContext, payload: Where) -> None:
    os.fork()


def _fork_and_raise(context: JobContext, payload: Where) -> None:
    if os.fork() == 0:
        raise ValueError("in the copy")


def _fork_and_exit(context: JobContext, payload: Where) -> None:
    if os.fork() == 0:
        sys.exit(7)


def _fork_and_report(context: JobContext, payload: Where) -> None:
    if os.fork() == 0:
        for act in (
            lambda: context.log("from the copy"), lambda: context.progress(0.5), lambda: context.step("one", int),
            context.dispatch, lambda: context.secrets["any"], lambda: context.transaction().__enter__(),
        ):  # fmt: skip
            _expect_refusal(act, payload)


def _fork_in_a_step(context: JobContext, payload: Where) -> None:
    context.step("forks", os.fork)


def _expect_refusal(act: Callable[[], object], payload: Where) -> None:
    try:
        act()
    except Exception:  # noqa: BLE001 - whatever it is called
        trace(payload, "refused")


def _fork_twice(context: JobContext, payload: Where) -> None:
    os.fork()
    os.fork()


def _close_stdout(context: JobContext, payload: Where) -> None:
    sys.stdout.close()


def _close_stderr(context: JobContext, payload: Where) -> None:
    sys.stderr.close()


def _close_descriptors(context: JobContext, payload: Where) -> None:
    os.close(1)
    os.close(2)


def _close_all(context: JobContext, payload: Where) -> None:
    sys.stdout.close()
    sys.stderr.close()
    os.close(0)
    os.close(1)
    os.close(2)


@app.job("bad.fork_in_transaction", effects="transaction", retry=Retry.never())
def fork_in_transaction(context: JobContext, payload: Where) -> None:
    """The copy raises inside of the transaction that it shares with the worker."""
    with context.transaction() as connection:
        connection.execute("CREATE TABLE forked (number integer)")
        if os.fork() == 0:
            raise ValueError("in the copy")
        os.wait()
        connection.execute("INSERT INTO forked VALUES (1)")


async def _fork_and_await(context: JobContext, payload: Where) -> None:
    os.fork()
    await asyncio.sleep(0.05)


async def _fork_and_return_async(context: JobContext, payload: Where) -> None:
    await asyncio.sleep(0)
    os.fork()


async def _fork_in_a_task(context: JobContext, payload: Where) -> None:
    async def forks() -> None:
        os.fork()
        await asyncio.sleep(0.05)

    await asyncio.create_task(forks())


async def _exit_in_a_task(context: JobContext, payload: Where) -> None:
    async def exits() -> None:
        raise SystemExit(3)

    await asyncio.create_task(exits())


async def _stop_the_loop(context: JobContext, payload: Where) -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.05)


FORKS = {
    "return": _fork_and_return, "raise": _fork_and_raise, "exit": _fork_and_exit, "report": _fork_and_report,
    "step": _fork_in_a_step, "twice": _fork_twice, "await": _fork_and_await, "coroutine": _fork_and_return_async,
    "task": _fork_in_a_task,
}  # fmt: skip
CLOSES = {
    "stdout": _close_stdout, "stderr": _close_stderr, "descriptors": _close_descriptors, "everything": _close_all,
}  # fmt: skip
LOOPS = {"exit_in_task": _exit_in_a_task, "stop_loop": _stop_the_loop}

for _name, _handler in {**FORKS, **CLOSES, **LOOPS}.items():
    _handler.__annotations__ = {"context": JobContext, "payload": Where, "return": None}
    app.job(f"bad.{_name}", effects="none", retry=Retry.never(), timeout_seconds=60)(_handler)


@app.job("bad.healthy_async", effects="none", retry=Retry.never())
async def healthy_async(context: JobContext, payload: Where) -> int:
    """A coroutine like any."""
    trace(payload, "healthy")
    await asyncio.sleep(0.01)
    return os.getpid()
