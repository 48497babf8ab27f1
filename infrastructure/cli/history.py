"""A job's timeline, laid out for people."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import NamedTuple

from pydantic import JsonValue
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from jobledger.application.payload_edits import edits_of
from jobledger.application.ports import TracedJob
from jobledger.application.queries import Causes, CausingEvent
from jobledger.domain.difference import Difference
from jobledger.domain.identifiers import short_id
from jobledger.domain.job import JobFacts

from ..shapes.history_pages import HistoryPage
from ..shapes.texts import duration_text
from ..shapes.timeline import Entry, why
from .output import status_text

_STYLE = {
    "dispatched": "cyan", "started": "yellow", "completed": "green", "failed": "red", "retried": "blue",
    "sent_to_dlq": "bold red", "limited": "cyan", "paused": "bold yellow", "resumed": "green", "unpaused": "green",
    "requeued": "cyan", "cancelled": "magenta", "stalled": "red",
}  # fmt: skip
_BODY_CHARACTERS = 4_000
_CAUSED_SHOWN = 10
_VALUE_CHARACTERS = 200
_DIFFERENCES_SHOWN = 50
_INDENT = 24


class HistoryCommand(NamedTuple):
    """What a command asked for: of which job and tenant, in which form."""

    job: str
    tenant: str | None
    after: int
    limit: int
    bodies: bool
    everything: bool

    def next(self, version: int) -> str:
        """The command that shows what follows."""
        words = ["jobledger", "jobs", "history", self.job]
        words += ["--tenant", self.tenant] if self.tenant else []
        words += ["--bodies"] if self.bodies else []
        words += ["--all"] if self.everything else []
        return shlex.join([*words, "--limit", str(self.limit), "--after", str(version)])


def print_history(console: Console, page: HistoryPage, causes: Causes, command: HistoryCommand) -> None:
    """Print the timeline of a job with what caused it and what it caused, and the command for its next page."""
    if command.after == 0:
        _print_cause(console, causes, command)
    print_entries(console, page.entries, bodies=command.bodies, caused=_by_version(causes))
    if not page.entries:
        console.print(f"[dim]nothing happened after version {command.after}[/]")
    elif any(entry.run for entry in page.entries):
        console.print("[dim]progress reports and logs are told in one line; --all shows each[/]")
    if causes.more:
        console.print(f"[dim]it caused more jobs than are shown:[/] {_trace_command(causes, command)}", soft_wrap=True)
    if page.next_version is not None:
        console.print(f"[dim]next page:[/] {escape(command.next(page.next_version))}", soft_wrap=True)


def _print_cause(console: Console, causes: Causes, command: HistoryCommand) -> None:
    lines = [f"[dim]request: {_trace_command(causes, command)}[/]"]
    if causes.cause is not None:
        lines.append(f"[dim]caused by:[/] {escape(cause_text(causes.cause))}")
    for line in lines:
        console.print(line, soft_wrap=True)


def _trace_command(causes: Causes, command: HistoryCommand) -> str:
    owner = ["--tenant", command.tenant] if command.tenant else []
    return escape(shlex.join(["jobledger", "jobs", "trace", causes.correlation_id, *owner]))


def cause_text(cause: CausingEvent) -> str:
    """`job 1a2b3c4d invoice.create, its version 2 (started, attempt 1 ...)`, or the id of a message from elsewhere."""
    event = cause.event
    if event is None:
        return f"message {cause.causation_id}"
    if not isinstance(event.facts, JobFacts):
        return f"{event.topic} {cause.causation_id}"
    what = f"{event.topic.removeprefix('job.')} {why(event.facts)}".rstrip()
    return f"job {short_id(event.originator_id)} {event.facts.job_type}, version {event.originator_version}: {what}"


def _by_version(causes: Causes) -> dict[int, list[TracedJob]]:
    """The caused jobs by the version of the event that caused them."""
    found: dict[int, list[TracedJob]] = {}
    for job in causes.caused:
        _, _, version = (job.causation_id or "").rpartition(".")
        found.setdefault(int(version) if version.isdigit() else 0, []).append(job)
    return found


def print_entries(
    console: Console,
    entries: Sequence[Entry],
    *,
    bodies: bool = False,
    caused: Mapping[int, Sequence[TracedJob]] | None = None,
) -> None:
    """Print a timeline: two lines an event. When, how long after the one before, what, by whom; below it, why, and
    which jobs it caused (by version)."""
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
        _print_caused(console, (caused or {}).get(entry.event.originator_version, ()))


def _print_caused(console: Console, jobs: Sequence[TracedJob]) -> None:
    for job in jobs[:_CAUSED_SHOWN]:
        line = Text(f"-> job {short_id(job.job_id)} ", style="cyan")
        if job.listed is not None:
            line.append(f"{job.listed.job_type} ").append(
                status_text(job.listed.status.value, failed=job.listed.failed)
            )
        _print_below(console, line)
    if len(jobs) > _CAUSED_SHOWN:
        _print_below(console, Text(f"-> and {len(jobs) - _CAUSED_SHOWN:,} more jobs", style="cyan"))


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
    line.append(f"{entry.what} ", style=_STYLE.get(entry.what.partition(" ")[0], "bold"))
    line.append(f"by {event.metadata.actor}", style="dim")
    if not event.metadata.authenticated:
        line.append(" (unauthenticated)", style="dim")
    for word, known in (("for", event.metadata.on_behalf_of), ("from", event.metadata.address)):
        if known is not None:
            line.append(f" {word} {known}", style="dim")
    return line


def _body(content: bytes) -> str:
    text = content.decode("utf-8", "backslashreplace").rstrip("\n")
    return text if len(text) <= _BODY_CHARACTERS else f"{text[:_BODY_CHARACTERS]}\n... ({len(content):,} bytes)"
