"""An application whose jobs run in child processes: one type for each way in which that can go."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from pydantic import BaseModel

from jobledger import App, Dispatch, InvalidInput, JobContext, Retry, Snooze
from jobledger.infrastructure.processes import child

_AT_ONCE = Retry.fixed(max_attempts=2, base_seconds=0)
_ONCE = Retry.fixed(max_attempts=1, base_seconds=0)

app = App("processes", code_version="processes-1")


class Nothing(BaseModel):
    """No input."""


class Number(BaseModel):
    """A number."""

    number: int = 0


class Named(BaseModel):
    """What to do."""

    what: str


class Files(BaseModel):
    """The handler says that it runs by writing its process id to `started`, and waits for `release`."""

    started: Path
    release: Path


class Unpicklable(Exception):
    """Cannot travel between processes."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")
        self.lock = threading.Lock()


@app.job("child.echo", effects="none", isolation="process", timeout_seconds=30)
def echo(_context: JobContext, payload: Number) -> dict[str, int]:
    """The number, and the process that saw it."""
    return {"number": payload.number, "process": os.getpid()}


@app.job("child.reports", effects="steps", isolation="process", timeout_seconds=30, retry=_AT_ONCE)
def reports(context: JobContext, payload: Number) -> list[str]:
    """Use everything that a context offers; fail after the first step of the first attempt."""
    context.progress(0.5, "half")
    context.log("here", number=payload.number)
    context.usage(tokens=5)
    first = context.step("first", lambda: f"attempt {context.attempt}")
    if context.attempt == 1:
        raise RuntimeError("after the first step")
    children = context.dispatch(Dispatch("child.echo", Number(number=7)), Dispatch("child.echo", {"number": 8}))
    return [first, *map(str, children)]


@app.job("child.ends", effects="none", isolation="process", timeout_seconds=30, retry=_ONCE)
def ends(context: JobContext, payload: Named) -> str:
    """End in the way that the payload names."""
    context.log("the last words")
    _WAYS[payload.what](context)
    return payload.what


@app.job("child.waits", effects="none", isolation="process", timeout_seconds=30, retry=_ONCE)
def waits(context: JobContext, payload: Files) -> str:
    """Say that it runs, then wait."""
    _write(payload.started, str(os.getpid()))
    while not payload.release.exists():
        context.check_cancelled()
        time.sleep(0.01)
    return "released"


@app.job("child.hangs", effects="none", isolation="process", timeout_seconds=1, retry=_ONCE)
def hangs(_context: JobContext, payload: Files) -> None:
    """Start processes and hang beyond the hard timeout."""
    _start_processes(payload.started)


@app.job("child.lingers", effects="none", isolation="process", timeout_seconds=300, retry=_ONCE)
def lingers(_context: JobContext, payload: Files) -> None:
    """Start processes and hang."""
    _start_processes(payload.started)


@app.job("child.grows", effects="none", isolation="process", timeout_seconds=30, retry=_ONCE, memory_limit_mb=400)
def grows(_context: JobContext, payload: Number) -> None:
    """Ask for 2 GB in one piece (1); or take 380 MB beside the program, and keep them (0)."""
    if payload.number:
        bytearray(2_000_000_000)
    held = [bytearray(b"x") * 1_000_000 for _ in range(380)]
    while held:
        time.sleep(0.01)


@app.job("child.closes", effects="none", isolation="process", timeout_seconds=30, soft_timeout_seconds=1, retry=_ONCE)
def closes(_context: JobContext, payload: Number) -> None:
    """Close everything, open as many others in its place as the payload says, and wait for ever."""
    _close_everything(_context)
    kept = [Path("/dev/null").open("rb") for _ in range(payload.number)]  # noqa: SIM115 - they stay open
    while True:
        time.sleep(60 + len(kept))


@app.job("child.leaves", effects="none", isolation="process", timeout_seconds=30)
def leaves(_context: JobContext, payload: Named) -> dict[str, int]:
    """Return, and leave something behind: a process, closed streams, or a trap that ends the process as soon as it
    takes another job."""
    if payload.what == "process":
        return {"process": os.getpid(), "left": _sleeping(start_new_session=True).pid}
    if payload.what == "streams":
        os.close(1)
    if payload.what == "trap":
        setattr(child, "Begun", lambda: os._exit(9))  # noqa: B010 - for mypy it is a class
    return {"process": os.getpid(), "left": 0}


@app.job("child.logs", effects="none", isolation="process", timeout_seconds=60)
def logs(context: JobContext, payload: Number) -> None:
    """Log so many megabytes, and report what is no progress."""
    for fraction in (math.nan, 2.0, "half"):
        try:
            context.progress(fraction)  # type: ignore[arg-type]
        except InvalidInput as error:
            context.log(f"refused: {error.field}")
    for _ in range(payload.number):
        context.log("x" * 999_999)


@app.job("child.secret", effects="none", isolation="process", timeout_seconds=30, retry=_ONCE)
def secret(context: JobContext, payload: Named) -> str:
    """Tell a secret in every way that there is."""
    text = context.secrets["gateway"]
    context.log(text)
    context.progress(0.5, text)
    if payload.what == "dispatch":
        context.dispatch(Dispatch("child.ends", {"what": text}))
    if payload.what == "step":
        context.step("told", lambda: text)
    if payload.what == "error":
        raise RuntimeError(text)
    return text


@app.job("child.transacts", effects="transaction", isolation="process", timeout_seconds=30, retry=_ONCE)
def transacts(context: JobContext, payload: Named) -> str:
    """Write a row in the attempt's transaction, then end as the payload says."""
    with context.transaction() as connection:
        connection.execute("INSERT INTO effects VALUES (%s)", (payload.what,))
        context.progress(0.5, "inside")
        context.log("inside")
        context.step("inside", lambda: payload.what)
        if payload.what != "commits":
            _WAYS[payload.what](context)
    return payload.what


@app.job("thread.echo", effects="none", timeout_seconds=30)
def thread_echo(_context: JobContext, payload: Number) -> dict[str, int]:
    """The same in the worker's own process."""
    return {"number": payload.number, "process": os.getpid()}


def _start_processes(started: Path) -> None:
    """A child, one in a session of its own, and one in such a session whose parent is gone; then hang."""
    same = _sleeping()
    session = _sleeping(start_new_session=True)
    orphan = subprocess.run(["sh", "-c", _ORPHAN], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    _write(started, f"{os.getpid()} {same.pid} {session.pid} {orphan}")
    while True:
        time.sleep(60)


_ORPHAN = "setsid sleep 600 >/dev/null 2>&1 & echo $!"


def _sleeping(*, start_new_session: bool = False) -> subprocess.Popen[bytes]:
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(["sleep", "600"], stdout=nowhere, stderr=nowhere, start_new_session=start_new_session)


def _exit(_context: JobContext) -> None:
    os._exit(3)


def _segmentation_fault(_context: JobContext) -> None:
    ctypes.string_at(0)


def _kill(_context: JobContext) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _system_exit(_context: JobContext) -> None:
    sys.exit(4)


def _unpicklable(_context: JobContext) -> None:
    raise Unpicklable(1, 2)


def _snooze(_context: JobContext) -> None:
    raise Snooze(3_600, "tomorrow")


def _fork(context: JobContext) -> None:
    if os.fork() == 0:
        context.log("from the copy")


def _close_streams(_context: JobContext) -> None:
    sys.stdout.close()
    os.close(2)


def _close_everything(_context: JobContext) -> None:
    os.closerange(3, 4_096)


def _long_message(_context: JobContext) -> None:
    raise NotImplementedError("x" * 100_000)


_WAYS = {
    "exit": _exit, "segmentation fault": _segmentation_fault, "kill": _kill, "system exit": _system_exit,
    "unpicklable": _unpicklable, "snooze": _snooze, "fork": _fork, "close streams": _close_streams,
    "close everything": _close_everything, "long message": _long_message,
}  # fmt: skip


def _write(file: Path, text: str) -> None:
    """All at once: whoever sees the file sees the text."""
    draft = file.with_suffix(".draft")
    draft.write_text(text, encoding="ascii")
    draft.rename(file)
