"""A job's timeline, laid out for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC

from pydantic import JsonValue
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from jobledger.application.payload_edits import edits_of
from jobledger.application.queries import History
from jobledger.domain.difference import Difference
from jobledger.domain.identifiers import short_id

from .output import duration_text
from .timeline import Entry, timeline

_STYLE = {
    "dispatched": "cyan", "started": "yellow", "completed": "green", "failed": "red", "retried": "blue",
    "sent_to_dlq": "bold red", "limited": "cyan", "paused": "bold yellow", "resumed": "green", "unpaused": "green",
    "requeued": "cyan", "cancelled": "magenta", "stalled": "red",
}  # fmt: skip
_BODY_CHARACTERS = 4_000
_VALUE_CHARACTERS = 200
_DIFFERENCES_SHOWN = 50
_INDENT = 24


def print_history(console: Console, past: History, *, bodies: bool, tenant: str | None) -> None:
    """Print the timeline of a job, and the command for its next page."""
    print_entries(console, timeline(past.events), bodies=bodies)
    if past.next_version is not None:
        owner = f" --tenant {tenant}" if tenant else ""
        command = f"jobledger jobs history {short_id(past.job_id)}{owner} --after {past.next_version}"
        console.print(f"[dim]next page:[/] {command}", soft_wrap=True)


def print_entries(console: Console, entries: Sequence[Entry], *, bodies: bool = False) -> None:
    """Print a timeline: two lines an event. When, how long after the one before, what, by whom; below it, why."""
    day = ""
    edits = edits_of([entry.event for entry in entries]) if bodies else {}
    for entry in entries:
        moment = entry.event.recorded_at.astimezone(UTC)
        if (today := f"{moment:%Y-%m-%d}") != day:
            day = today
            console.print(f"[dim]{day} UTC[/]")
        console.print(_headline(entry), soft_wrap=True)
        if entry.why:
            _print_below(console, Text(entry.why))
        for difference in edits.get(entry.event.originator_version, ())[:_DIFFERENCES_SHOWN]:
            _print_below(console, difference_text(difference))
        if bodies and entry.event.body:
            _print_below(console, Text(_body(entry.event.body), style="dim"))


def _print_below(console: Console, text: Text) -> None:
    if console.is_terminal:
        console.print(Padding(text, (0, 0, 0, _INDENT), expand=False))
    else:
        for line in text.split("\n"):
            console.print(" " * _INDENT, line, sep="", soft_wrap=True)


def difference_text(difference: Difference) -> Text:
    """`/note: "old" -> "new"`, `+ /note: "new"`, `- /note: "old"`."""
    before, after = (_value(value) for value in (difference.before, difference.after))
    path = difference.path or "all of it"
    match difference.op:
        case "add":
            return Text(f"+ {path}: {after}", style="green")
        case "remove":
            return Text(f"- {path}: {before}", style="red")
        case "replace":
            line = Text(f"~ {path}: ")
            return line.append(before, style="red").append(" -> ").append(after, style="green")


def _value(value: JsonValue) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_CHARACTERS else f"{text[:_VALUE_CHARACTERS]}... ({len(text):,} characters)"


def _headline(entry: Entry) -> Text:
    event = entry.event
    later = "" if entry.seconds is None else f"+{duration_text(entry.seconds)}"
    line = Text(f"{event.recorded_at.astimezone(UTC):%H:%M:%S}.{event.recorded_at.microsecond // 1000:03d} ")
    line.append(f"{later:>10} ", style="dim")
    line.append(f"{entry.what} ", style=_STYLE.get(entry.what, "bold"))
    line.append(f"by {event.metadata.actor}", style="dim")
    if not event.metadata.authenticated:
        line.append(" (unauthenticated)", style="dim")
    return line


def _body(content: bytes) -> str:
    text = content.decode("utf-8", "backslashreplace").rstrip("\n")
    return text if len(text) <= _BODY_CHARACTERS else f"{text[:_BODY_CHARACTERS]}\n... ({len(content):,} bytes)"
