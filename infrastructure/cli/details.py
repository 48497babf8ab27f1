"""One job, laid out for people."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobledger.application.limit_messages import Explanation
from jobledger.application.past_jobs import Past
from jobledger.application.queries import JobDetails
from jobledger.domain.identifiers import short_id

from ..shapes import jobs as shapes
from ..shapes.texts import duration_text, moment_text, utc_text
from ..shapes.timeline import policy_text
from .output import status_text


def print_details(console: Console, job: JobDetails, waits: Explanation | None = None) -> None:
    """Print a job: what it is, where it stands and why it waits, its times, its payload and result."""
    if job.past is not None:
        console.print(past_text(job, job.past))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _lines(job, waits):
        grid.add_row(name, value if isinstance(value, Text) else Text(value))  # never read as markup
    console.print(grid)
    console.print(f"[dim]why: jobledger jobs history {short_id(job.job_id)} --tenant {job.tenant}[/]", soft_wrap=True)


def past_text(job: JobDetails, past: Past) -> Text:
    """That this is not the job as it is."""
    if isinstance(past.as_of, int):
        asked = f"in version {past.as_of:,} ({moment_text(job.updated_at)})"
    else:
        asked = f"at {moment_text(past.as_of)} (version {job.version:,})"
    text = Text(f"as it was {asked}", style="bold yellow")
    if past.until is None:
        return text.append("; nothing has happened since")
    many = f"{past.later_events:,} {'event' if past.later_events == 1 else 'events'}"
    return text.append(f", until {moment_text(past.until)}; {many} since")


def _unauthenticated(job: JobDetails) -> str:
    return "" if job.authenticated else " (unauthenticated)"


def _lines(job: JobDetails, waits: Explanation | None) -> list[tuple[str, Text | str]]:
    state = job.state
    lines: list[tuple[str, Text | str]] = [
        ("job", Text(str(job.job_id), style="bold")),
        ("type", f"{state.job_type} ({state.kind})"),
        ("status", status_text(state.status.value, failed=job.failed)),
        *_waiting(waits),
        ("tenant", job.tenant),
        ("persona", state.persona or "-"),
        ("queue", f"{state.queue}, priority {state.priority}"),
        ("attempts", f"{state.attempts_counted} of {state.attempts_allowed}; {policy_text(state.retry)}"),
        ("timeout", f"{duration_text(state.timeout_seconds)}, told after {duration_text(state.soft_timeout_seconds)}"),
        ("dispatched", f"{utc_text(job.created_at)} by {job.actor}{_unauthenticated(job)}"),
        ("due", utc_text(state.due_at)),
        ("started", utc_text(job.started_at)),
        ("completed", utc_text(job.completed_at)),
        ("updated", utc_text(job.updated_at)),
        ("correlation", job.correlation_id),
    ]
    lines += [(name, value) for name, value in _optional(job) if value]
    return lines


def _waiting(waits: Explanation | None) -> list[tuple[str, Text | str]]:
    """A line for each thing that keeps it waiting."""
    holds = () if waits is None else waits.holds
    return [("waits" if number == 0 else "", hold.text) for number, hold in enumerate(holds)]


def _optional(job: JobDetails) -> list[tuple[str, Text | str]]:
    state = job.state
    error = f"{state.last_error_type}: {state.last_error_message}" if job.failed else ""
    return [
        ("worker", state.worker or ""),
        ("progress", "" if job.progress is None else f"{job.progress:.0%}"),
        ("cancelling", state.cancel_reason or ""),
        ("error", Text(error, style="red")),
        ("key", job.idempotency_key or ""),
        ("lock", state.lock_key or ""),
        ("limit key", state.limit_key or ""),
        ("cost", f"{job.estimated_cost:g}" if job.estimated_cost else ""),
        ("payload", body_text(job.payload)),
        ("result", body_text(job.result)),
    ]


def body_text(content: bytes | None) -> Text:
    """A body, JSON indented; empty where there is none."""
    if content is None:
        return Text("")
    document = shapes.body(content)
    return Text(document if isinstance(document, str) else json.dumps(document, ensure_ascii=False, indent=2))
