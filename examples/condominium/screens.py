"""What the demo shows: live progress on a terminal, plain lines elsewhere, and the screens at the end."""

import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .board import Board, Tally
from .intake import Outcome, RefusedLine
from .results import Answer

WIDTH_MAX = 100
_RATE_SECONDS = 1.0
_PLAIN_EVERY_SECONDS = 1.0
_MESSAGE_CHARACTERS = 60


class Now(NamedTuple):
    """The chapter that is told."""

    number: int
    of: int
    title: str


def make_console() -> Console:
    """Where the demo writes: as wide as the terminal, but not wider than one reads; a file gets whole lines."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.width = min(console.width, WIDTH_MAX)
    else:
        console.width = WIDTH_MAX
    return console


class Progress:
    """Shows the board while jobs run: a table that is redrawn, or off a terminal a line a second."""

    def __init__(self, console: Console, board: Board) -> None:
        self._console = console
        self._board = board
        self._began = time.monotonic()
        self._over: float | None = None
        self._ended: deque[tuple[float, int]] = deque()
        self._live: Live | None = None
        self._now = Now(0, 0, "Getting ready")
        self._said_at = 0.0

    @property
    def seconds(self) -> float:
        """Since it began, until all chapters were over."""
        return (self._over or time.monotonic()) - self._began

    @contextmanager
    def shown(self) -> Iterator["Progress"]:
        """Draw until the block ends; the last state stays on the screen."""
        if not self._console.is_terminal:
            yield self
            self._over = time.monotonic()
            return
        with Live(self._screen(), console=self._console, auto_refresh=False) as live:
            self._live = live
            yield self
            self._over = time.monotonic()
            live.update(self._screen(), refresh=True)

    def begin(self, now: Now, outcome: Outcome) -> None:
        """A chapter begins; this came of its events."""
        self._now = now
        if self._live is None:
            facts = f"{outcome.lines} events, {len(outcome.jobs)} jobs, {len(outcome.refused)} refused"
            self._say(f"{now.number}/{now.of} {now.title}: {facts}")

    def update(self) -> None:
        """Show where the jobs are now."""
        self._ended.append((time.monotonic(), self._board.tally().ended))
        while self._ended[0][0] < self._ended[-1][0] - _RATE_SECONDS and len(self._ended) > 2:
            self._ended.popleft()
        if self._live is not None:
            self._live.update(self._screen(), refresh=True)
        elif time.monotonic() - self._said_at >= _PLAIN_EVERY_SECONDS:
            self._say(f"    {self._jobs()}, {self._rate():.0f} jobs/s")

    def end(self) -> None:
        """The chapter is over."""
        if self._live is None:
            self._say(f"    {self._jobs()}, {self._rate():.0f} jobs/s")

    def _rate(self) -> float:
        if len(self._ended) < 2:
            return 0.0
        (began, before), (ended, after) = self._ended[0], self._ended[-1]
        return (after - before) / max(ended - began, 0.001)

    def _jobs(self) -> str:
        tally = self._board.tally()
        return (
            f"{tally.ended} of {tally.all} jobs, {tally.running} in progress, {tally.retries} retries, "
            f"{tally.dead} in the DLQ"
        )

    def _flow(self) -> str:
        board = self._board
        return f"{self._rate():.0f} jobs/s, {board.events:,} events, {board.refused} refused"

    def _say(self, text: str) -> None:
        self._said_at = time.monotonic()
        self._console.print(f"{self.seconds:6.1f} s  {text}", soft_wrap=True, highlight=False)

    def _screen(self) -> RenderableType:
        return Group(self._table(), Text(), self._footer())

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), width=min(self._console.width, WIDTH_MAX))
        table.add_column("job type", no_wrap=True)
        for title in ("waiting", "in progress", "done", "retries", "DLQ"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("", ratio=1)
        for job_type in self._board.job_types():
            table.add_row(*_row(job_type, self._board.tally(job_type)))
        return table

    def _footer(self) -> Group:
        now = self._now
        chapter = Text.assemble((f"{now.number}/{now.of} ", "dim"), (now.title, "bold"))
        return Group(chapter, Text(self._jobs()), Text(f"{self._flow()}, {self.seconds:.1f} s", style="dim"))


def _row(job_type: str, tally: Tally) -> Sequence[RenderableType]:
    """Numbers that are not zero stand out."""
    styles = ("blue", "yellow", "green", "magenta", "bold red")
    numbers = (tally.waiting, tally.running, tally.done, tally.retries, tally.dead)
    cells = [Text(str(number) if number else "·", style=style if number else "dim")
             for number, style in zip(numbers, styles, strict=True)]  # fmt: skip
    return job_type, *cells, ProgressBar(total=max(tally.all, 1), completed=tally.ended)


def section(console: Console, title: str, command: str | None = None) -> None:
    """The head of a screen; `command` is what is run to show it."""
    console.print()
    console.rule(Text(f" {title} ", style="bold"), align="left", style="dim", characters="─")
    if command:
        console.print(Text.assemble(("$ ", "dim"), (command, "cyan")), soft_wrap=True)


def refused_table(lines: Iterable[RefusedLine]) -> Table:
    """What was refused and why: those of one field and rule together, each with its line."""
    groups: dict[tuple[str, str], list[RefusedLine]] = defaultdict(list)
    for line in lines:
        groups[line.field, line.rule].append(line)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("lines", no_wrap=True)
    for title in ("field", "rule", "the first one says"):
        table.add_column(title, overflow="fold")
    for (field, rule), found in sorted(groups.items(), key=lambda group: group[1][0].line):
        numbers = " ".join(str(line.line) for line in found)
        message = found[0].message
        short = message if len(message) <= _MESSAGE_CHARACTERS else f"{message[: _MESSAGE_CHARACTERS - 3]}..."
        table.add_row(numbers, Text(field, style="yellow"), rule, Text(short, style="dim"))
    return table


def answer(found: Answer) -> RenderableType:
    """A question with the passages that are nearest to it."""
    parts: list[RenderableType] = [Text(found.question, style="bold")]
    for passage in found.passages:
        source = Text.assemble((f"{passage.score:.2f}  ", "green"), (passage.title, "cyan"))
        text = " ".join(passage.text.split())
        parts += [source, Padding(Text(text if len(text) <= 260 else f"{text[:257]}..."), (0, 0, 0, 6))]
    return Group(*parts)


def commands(console: Console, lines: Sequence[tuple[str, str]]) -> None:
    """Commands to try next, each with what it is for; a command stands alone on its line, to be copied."""
    for comment, command in lines:
        console.print(Text(f"# {comment}", style="dim"))
        console.print(Text(command, style="cyan"), soft_wrap=True)
