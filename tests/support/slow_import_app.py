"""An application that a child process takes for ever to import, where a file says so."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pydantic import BaseModel

from jobledger import App, JobContext

app = App("slow-import", code_version="slow-import-1")


class Nothing(BaseModel):
    """No input."""


@app.job("slow.echo", effects="none", isolation="process", timeout_seconds=30)
def echo(_context: JobContext, _payload: Nothing) -> list[int]:
    """The process that imported the application for this one, and this one."""
    return [os.getppid(), os.getpid()]


def _import_slowly(hangs: Path) -> None:
    if hangs.exists():
        (hangs.parent / "importing").touch()
        while hangs.exists():
            time.sleep(0.01)


if "SLOW_IMPORT" in os.environ:
    _import_slowly(Path(os.environ["SLOW_IMPORT"]))
