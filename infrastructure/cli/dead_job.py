"""One dead job, laid out for people: why it died, attempt by attempt, and what to do next."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobledger.application.attempts import Attempt
from jobledger.application.dlq_messages import DeadJob
from jobledger.domain.identifiers import short_id
from jobledger.domain.job import DlqReason

from ..shapes.texts import duration_text, time_text
from .details import body_text
from .output import table

_MEANING: dict[DlqReason, str] = {
    "attempts_exhausted": "every attempt failed; once what it needs works again, requeue it",
    "unrecoverable": "no attempt can succeed as it is; requeue it with an edited payload, or discard it",
    "integrity_violation": "its payload does not fit the job type (any more); requeue it with an edited one",
    "stalled": "its workers vanished while they ran it; look at their memory and logs before it runs again",
}


def print_dead_job(console: Console, dead: DeadJob, *, bodies: bool) -> None:
    """Print why a job is dead."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _lines(dead):
        grid.add_row(name, value if isinstance(value, Text) else Text(value))  # never read as markup
    console.print(grid)
    if dead.attempts:
        console.print()
        rows = [_attempt(attempt) for attempt in dead.attempts]
        console.print(table(("attempt", "right"), "started", "worker", "ended", "error", rows=rows))
    if bodies:
        _print_body(console, "traceback", body_text(dead.traceback))
        _print_body(console, "payload", body_text(dead.job.payload))
    _print_next(console, dead, bodies=bodies)


def _lines(dead: DeadJob) -> list[tuple[str, Text | str]]:
    job, state, death = dead.job, dead.job.state, dead.death
    lines: list[tuple[str, Text | str]] = [
        ("job", Text(str(job.job_id), style="bold")),
        ("type", f"{state.job_type} ({state.kind})"),
        ("tenant", job.tenant),
        ("persona", state.persona or "-"),
        ("queue", state.queue),
        ("dead", f"{time_text(dead.died_at)} UTC"),
        ("cause", Text(death.reason.replace("_", " "), style="bold red")),
        ("error", Text(f"{death.error_type}: {death.message}", style="red")),
        ("fingerprint", death.fingerprint),
        ("attempts", f"{state.attempt} in all, {state.attempts_counted} of {state.attempts_allowed} counted"),
    ]
    if state.stalls:
        lines.append(("stalls", f"{state.stalls}, {state.max_stalled} allowed"))
    if dead.times_requeued:
        lines.append(("requeued", f"{dead.times_requeued} times before"))
    return lines


def _attempt(attempt: Attempt) -> tuple[str, ...]:
    ended = "runs" if attempt.ended_at is None else ""
    if attempt.ended_at is not None:
        seconds = max(0.0, (attempt.ended_at - attempt.started_at).total_seconds())
        ended = f"{attempt.ending} after {duration_text(seconds)}"
    return str(attempt.number), time_text(attempt.started_at), attempt.worker, ended, attempt.error


def _print_body(console: Console, title: str, text: Text) -> None:
    console.print(f"\n[dim]{title}[/]")
    console.print(text if text else Text("(removed, or there was none)", style="dim"), soft_wrap=True)


def _print_next(console: Console, dead: DeadJob, *, bodies: bool) -> None:
    job, tenant = short_id(dead.job.job_id), dead.job.tenant
    command = "jobledger dlq"
    edit = " --set path=value" if dead.death.reason in ("unrecoverable", "integrity_violation") else ""
    console.print(f"\n[bold]next[/]  {_MEANING[dead.death.reason]}", soft_wrap=True)
    lines = [
        f'{command} requeue {job} --tenant {tenant}{edit} --reason "..."',
        f'{command} discard {job} --tenant {tenant} --reason "..."',
        f"{command} requeue --tenant {tenant} --fingerprint {dead.death.fingerprint} --dry-run",
        f"jobledger jobs history {job} --tenant {tenant}",
    ]
    if not bodies:
        lines.append(f"{command} show {job} --tenant {tenant} --bodies")
    said = ["", "", "  (all that died in the same place)", "", "  (with traceback and payload)"]
    for line, about in zip(lines, said, strict=False):
        console.print(Text.assemble(f"  {line}", (about, "dim")), soft_wrap=True)
