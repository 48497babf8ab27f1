"""An application whose handlers change the process that they run in."""

from __future__ import annotations

import locale
import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path

from pydantic import BaseModel

from jobledger import App, JobContext, Retry

_ONCE = Retry.fixed(max_attempts=1, base_seconds=0)
LOCALE = "C.UTF-8"

app = App("process-state", code_version="process-state-1")


class Nothing(BaseModel):
    """No input."""


@app.job("state.change", effects="none", isolation="process", timeout_seconds=30, retry=_ONCE)
def change(_context: JobContext, _payload: Nothing) -> dict[str, object]:
    """Change all that one job can leave to the next, as careless handlers do; what it was before."""
    before = _state()
    os.chdir("/")
    os.umask(0o777)
    os.environ["PROCESS_STATE"] = "of another tenant"
    os.environ.pop("HOME", None)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    locale.setlocale(locale.LC_ALL, LOCALE)
    socket.setdefaulttimeout(0.001)
    return before


@app.job("state.see", effects="none", isolation="process", timeout_seconds=30, retry=_ONCE)
def see(_context: JobContext, _payload: Nothing) -> dict[str, object]:
    """What a handler finds, and whether it can work for a second in peace."""
    seen = _state()
    time.sleep(1.0)
    return seen


@app.job("state.terminates", effects="none", isolation="process", timeout_seconds=30, retry=_ONCE)
def terminates(_context: JobContext, _payload: Nothing) -> int | None:
    """Start a process as `multiprocessing` does by default, and ask it to end."""
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(20,))
    process.start()
    process.terminate()
    process.join(5)
    return process.exitcode


def _state() -> dict[str, object]:
    mask = os.umask(0o022)
    os.umask(mask)
    return {
        "process": os.getpid(), "folder": str(Path.cwd()), "mask": mask, "environment": dict(os.environ),
        "handlers": [str(signal.getsignal(number)) for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGALRM)],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())), "timer": signal.getitimer(signal.ITIMER_REAL),
        "locale": locale.setlocale(locale.LC_ALL), "timeout": socket.getdefaulttimeout(),
    }  # fmt: skip
