"""An application whose jobs cause others, or a lot of noise."""

from __future__ import annotations

from pydantic import BaseModel

from jobledger import App, Dispatch, JobContext
from jobledger.domain.errors import Refusal

NOISE = 30

app = App("family", code_version="family-1")


class Family(BaseModel):
    """How many children, and whether to ask for one of a type that nobody knows, too."""

    children: int = 0
    unknown: bool = False


class Nothing(BaseModel):
    """No payload."""


@app.job("family.parent", effects="none", timeout_seconds=30)
def parent(context: JobContext, payload: Family) -> None:
    """Dispatch the children."""
    for _ in range(payload.children):
        context.dispatch(Dispatch("family.child", {}))
    if payload.unknown:
        try:
            context.dispatch(Dispatch("family.unknown", {}))
        except Refusal:
            context.log("refused")


@app.job("family.child", effects="none", timeout_seconds=30)
def child(_context: JobContext, payload: Nothing) -> None:
    """Do nothing."""


@app.job("family.noisy", effects="none", timeout_seconds=30)
def noisy(context: JobContext, payload: Nothing) -> None:
    """Steps and reports."""
    for number in range(NOISE):
        context.log("working", number=number)
    context.progress(0.5, "half")
    context.step("first", lambda: 1)
    for number in range(NOISE):
        context.log("working on", number=number)
    context.progress(1.0, "all")
