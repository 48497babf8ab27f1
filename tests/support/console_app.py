"""Job types for tests of the console."""

from __future__ import annotations

import threading

from pydantic import BaseModel, ConfigDict

from jobledger import App, JobContext, NeverRetry

app = App("console-tests", code_version="console-1")

GATES: dict[str, threading.Event] = {}
"""What `note.wait` waits for, by name; a test opens it."""


class Note(BaseModel):
    """What is noted."""

    model_config = ConfigDict(extra="forbid")

    text: str = ""
    number: int = 0


@app.job("note.take", effects="none", timeout_seconds=30, queue="notes")
def take(_context: JobContext, payload: Note) -> dict[str, str]:
    """Take a note."""
    return {"taken": payload.text}


@app.job("note.refuse", effects="none", timeout_seconds=30)
def refuse(_context: JobContext, payload: Note) -> None:
    """Fail for good."""
    raise NeverRetry(f"refused: {payload.text}")


@app.job("note.tear", effects="none", timeout_seconds=30)
def tear(_context: JobContext, payload: Note) -> None:
    """Fail for good, otherwise."""
    raise NeverRetry(f"torn: {payload.text}")


@app.job("note.amend", effects="none", timeout_seconds=30)
def amend(_context: JobContext, payload: Note) -> str:
    """Fail for good unless the number was mended."""
    if not payload.number:
        raise NeverRetry("there is no number")
    return payload.text


@app.job("note.copy", effects="steps", timeout_seconds=60)
def copy(context: JobContext, payload: Note) -> int:
    """As many steps as the number says: an event each."""
    for number in range(payload.number):
        context.step(f"copy {number}", lambda: 1)
    return payload.number


@app.job("note.wait", effects="none", timeout_seconds=60)
def wait(context: JobContext, payload: Note) -> str:
    """Report progress, then wait for a gate."""
    context.progress(0.25, "a quarter")
    while not GATES[payload.text].wait(0.01):
        context.check_cancelled()
    return "went on"
