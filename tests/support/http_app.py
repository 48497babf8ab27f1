"""Job types for tests over HTTP."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from jobledger import App, JobContext, NeverRetry

app = App("http-tests", code_version="http-1")


class Numbered(BaseModel):
    """A number."""

    model_config = ConfigDict(extra="forbid")

    number: int = 0


@app.job("number.double", effects="none", timeout_seconds=30)
def double(_context: JobContext, payload: Numbered) -> dict[str, int]:
    """Twice the number."""
    return {"number": payload.number * 2}


class Kept(BaseModel):
    """Any object."""

    model_config = ConfigDict(extra="allow")


@app.job("text.keep", effects="none", timeout_seconds=30)
def keep(_context: JobContext, _payload: Kept) -> None:
    """Whatever it says."""


@app.job("number.refuse", effects="none", timeout_seconds=30)
def refuse(_context: JobContext, payload: Numbered) -> None:
    """Fail for good."""
    raise NeverRetry(f"{payload.number} is refused")
