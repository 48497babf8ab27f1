"""How answers look to people: tables and colours.

Off a terminal there are neither colours nor wrapped cells. Times are UTC, to the second.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ..harmless import harmless

PIPE_WIDTH = 200
"""Columns of output that no terminal bounds; wide enough that no cell is cut."""

SPARE = ("prio", "queue", "app", "code", "updated (UTC)", "dead", "persona")
"""Titles of columns that a narrow terminal does without, in this order; `--json` has them all."""

_GAP = 2
_LAST_WIDTH = 32
"""Columns that the last column keeps, at least, while others are left out for it."""

STATUS_STYLE = {
    "pending": "cyan", "delayed": "blue", "blocked": "magenta", "in_progress": "bold yellow",
    "completed": "green", "dlq": "bold red", "cancelled": "dim", "discarded": "dim",
}  # fmt: skip


class _HarmlessConsole(Console):
    """Whatever is printed says something to people, and nothing to their terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """As rich does, without controls but those of rich itself."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=harmless(segment.text))

    def on_broken_pipe(self) -> None:
        """Who read has had enough: the command decides what that means (rich would end the program)."""
        raise  # noqa: PLE0704 - called while the error is handled


def console() -> Console:
    """Where answers go."""
    return _console(sys.stdout)


def error_console() -> Console:
    """Where errors and hints go."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    width = None if stream.isatty() else PIPE_WIDTH
    return _HarmlessConsole(file=stream, width=width, highlight=False, soft_wrap=not stream.isatty())


def table(*columns: str | tuple[str, str], rows: Iterable[Sequence[str | Text]], spare: Sequence[str] = SPARE) -> Table:
    """A light table; a column is a title, or a title with `right`. A cell stands on one line.

    Where the terminal is too narrow, columns of `spare` are left out; then the last column is cut, so that the others
    (ids above all) can be read and copied.
    """
    named = [(column, "") if isinstance(column, str) else column for column in columns]
    lines = [[_cell(value) for value in row] for row in rows]
    shown = fitting([title for title, _ in named], lines, console().width, spare)
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    for index in shown:
        title, style = named[index]
        # Only what may wrap is narrowed; its cells say themselves that they are cut instead.
        made.add_column(title, justify="right" if style == "right" else "left", no_wrap=index != shown[-1])
    for line in lines:
        made.add_row(*[line[index] for index in shown])
    return made


def _cell(value: str | Text) -> Text:
    text = value.copy() if isinstance(value, Text) else Text(value)
    text.plain = harmless(text.plain)  # before it is measured: a control has no width, what stands for it has
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def fitting(
    titles: Sequence[str], lines: Sequence[Sequence[Text]], width: int, spare: Sequence[str] = SPARE
) -> list[int]:
    """The columns that are shown: as few of `spare` are left out as the width asks for."""
    widths = [max([cell_len(title), *[line[index].cell_len for line in lines]]) for index, title in enumerate(titles)]
    widths[-1] = min(widths[-1], _LAST_WIDTH)
    shown = list(range(len(titles)))
    for title in spare:
        if sum(widths[index] + _GAP for index in shown) <= width:
            break
        shown = [index for index in shown if titles[index] != title]
    return shown


def status_text(status: str, *, failed: bool = False) -> Text:
    """A status in its colour; `!` marks a job whose last attempt failed."""
    mark = " !" if failed and status != "dlq" else ""
    return Text(f"{status}{mark}", style=STATUS_STYLE.get(status, ""))
