"""How far a rebuild is, while it runs: a bar on a terminal, now and then a line elsewhere. On stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Protocol
from uuid import UUID

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from jobledger.domain.errors import InvalidInput
from jobledger.projections.beginning import Joined
from jobledger.projections.rebuild import Standing
from jobledger.projections.shadow import RebuildState

from .output import error_console
from .rebuild_output import what

_LINE_SECONDS = 5.0
"""Between two lines where there is no terminal."""

STATE_TEXT = {
    RebuildState.FILLING: "filling", RebuildState.INDEXING: "indexing", RebuildState.CATCHING_UP: "catching up",
    RebuildState.COMPARING: "comparing", RebuildState.SWAPPED: "recording",
}  # fmt: skip


class Shown(Protocol):
    """Tells of a rebuild while it runs. `fresh` is False where it began before."""

    fresh: bool

    def joined(self, joined: Joined) -> None:
        """It begins, or goes on."""
        ...

    def report(self, standing: Standing) -> None:
        """It has come so far."""
        ...

    def stop(self) -> None:
        """Nothing more is shown."""
        ...


class Silent:
    """Says nothing."""

    fresh = True

    def joined(self, joined: Joined) -> None:
        """Remembered only."""
        self.fresh = joined.fresh

    def report(self, standing: Standing) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


class Rate:
    """Events a second since this process began to watch."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._events: int | None = None

    def text(self, events: int) -> str:
        """`118,000 events/s`, and nothing before there is something to measure."""
        if self._events is None:
            self._events = events
        seconds = time.monotonic() - self._begun
        if seconds < 0.5 or events <= self._events:
            return ""
        return f"{(events - self._events) / seconds:,.0f} events/s"


class Lines(Silent):
    """A line for each state, and every few seconds."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._rate = Rate()
        self._state: RebuildState | None = None
        self._said = 0.0

    def joined(self, joined: Joined) -> None:
        """Say which rebuild it is."""
        super().joined(joined)
        if not joined.fresh:
            self._out.print(going_on(joined), soft_wrap=True)

    def report(self, standing: Standing) -> None:
        """Say it, unless something was said a moment ago."""
        now = time.monotonic()
        if standing.state is self._state and now - self._said < _LINE_SECONDS:
            return
        self._state, self._said = standing.state, now
        said = [f"{STATE_TEXT[standing.state]} {standing.fraction:4.0%}", f"{standing.events:,} events"]
        self._out.print(Text(", ".join([*said, *filter(None, [self._rate.text(standing.events)])])), soft_wrap=True)


class Bar(Silent):
    """A bar for the state at hand, with rate and time left."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._rate = Rate()
        self._state: RebuildState | None = None
        self._task = progress.add_task("", total=1.0, events="", rate="")

    def joined(self, joined: Joined) -> None:
        """Say which rebuild it is, above the bar."""
        super().joined(joined)
        if not joined.fresh:
            self._progress.console.print(going_on(joined), soft_wrap=True)

    def report(self, standing: Standing) -> None:
        """Move the bar."""
        if standing.state is not self._state:
            self._state = standing.state
            self._progress.reset(self._task, total=1.0)
        total = None if standing.state in (RebuildState.INDEXING, RebuildState.COMPARING) else 1.0
        self._progress.update(
            self._task, description=STATE_TEXT[standing.state], completed=standing.fraction, total=total,
            events=f"{standing.events:,} events", rate=self._rate.text(standing.events),
        )  # fmt: skip

    def stop(self) -> None:
        """Take it away."""
        self._progress.stop()


def going_on(joined: Joined) -> Text:
    """`going on with the rebuild of tenant_jobs that ana began at 12:00:00 UTC`."""
    rebuild = joined.rebuild
    began = f"{rebuild.begun_at:%Y-%m-%d %H:%M:%S} UTC"
    return Text(f"going on with the {what(rebuild)} that {rebuild.actor} began at {began}")


@contextmanager
def shown(*, quiet: bool) -> Iterator[Shown]:
    """Show how far a rebuild is for the block."""
    out = error_console()
    if quiet:
        yield Silent()
    elif not out.is_terminal:
        yield Lines(out)
    else:
        columns = (
            TextColumn("{task.description:<11}"), BarColumn(), TaskProgressColumn(),
            TextColumn("{task.fields[events]}"), TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=out, transient=True) as progress:
            yield Bar(progress)


# --- of the processes that help --------------------------------------------------------------------------------------


def end_with_parent() -> None:
    """End this process when whoever started it has ended: stdin is a pipe that nobody writes to. What it was at is
    rolled back, and its slice is taken over."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):  # not through its buffer: that is locked, also for who ends regularly
            pass
        os._exit(0)

    Thread(target=watch, name="end-with-parent", daemon=True).start()


def parse_id(text: str) -> UUID:
    """The id of a rebuild."""
    try:
        return UUID(text)
    except ValueError as error:
        raise InvalidInput(f"{text[:60]!r} is no rebuild's id", field="ID", rule="a UUID") from error
