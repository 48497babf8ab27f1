"""Acts on all dead jobs that a filter matches: shown first, confirmed, then done with a word on how far it is."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from jobledger.application.dlq_messages import CountDlq, DiscardDlq, DlqBulkDone, DlqCount, DlqProgress, RequeueDlq
from jobledger.application.ports import DlqRow, ViewName
from jobledger.domain.dlq import BulkAct
from jobledger.domain.errors import CountChanged, NotConfirmed, ReasonRequired
from jobledger.domain.identifiers import short_id

from ..projecting import catch_up
from ..shapes import dlq as dlq_shapes
from ..shapes.texts import first_line, time_text
from . import dlq_filters, lists
from .exit_codes import ExitCode
from .json_output import print_json
from .output import console, error_console, table
from .session import Session

_TROUBLES_SHOWN = 20
_CATCH_UP_SECONDS = 60.0
"""How long the list may take to hold all that is on record: what acts on many jobs counts all of them."""


class Bulk(NamedTuple):
    """What was asked for. `expect` is how many jobs may match at most; `tenant_said` whether an option named it."""

    act: BulkAct
    tenant: str
    where: dict[str, object]
    reason: str
    ticket: str | None
    attempts: int | None = None
    expect: int | None = None
    yes: bool = False
    dry_run: bool = False
    as_json: bool = False


def run(session: Session, bulk: Bulk) -> None:
    """Count, show, have it confirmed, do it, and say what came of it."""
    if not bulk.dry_run and not bulk.reason.strip():
        raise ReasonRequired(f"{bulk.act}ing")
    catch_up(session.handle, _CATCH_UP_SECONDS, (ViewName.DLQ_JOBS,))
    found = session.ask(CountDlq, tenant=bulk.tenant, **bulk.where, timeout_seconds=_CATCH_UP_SECONDS)
    if bulk.dry_run:
        _show(bulk, found)
        return
    if found.until is None:
        _say_nothing_matches(bulk, found)
        return
    meant = found.where.model_copy(update={"dead_to": found.until})
    if bulk.expect is not None and found.summary.jobs > bulk.expect:
        raise CountChanged(bulk.expect, found.summary.jobs)
    if not bulk.yes:
        _confirm(bulk, found)
    with _progress(bulk, found.summary.jobs) as progress:
        done = session.ask(
            RequeueDlq if bulk.act == "requeue" else DiscardDlq, tenant=bulk.tenant,
            **{**bulk.where, "dead_to": meant.dead_to}, confirmed=found.summary.jobs, reason=bulk.reason,
            ticket=bulk.ticket, progress=progress, **({"attempts": bulk.attempts} if bulk.attempts else {}),
        )  # fmt: skip
    if bulk.as_json:
        print_json(dlq_shapes.done(bulk.tenant, meant, done))
    else:
        _print_done(console(), bulk, done)
    if done.refused:
        raise typer.Exit(ExitCode.REFUSED)


def command(bulk: Bulk, found: DlqCount) -> str:
    """The command that does this to just these jobs, without asking."""
    where = found.where if found.until is None else found.where.model_copy(update={"dead_to": found.until})
    words = ["jobledger", "dlq", bulk.act, "--tenant", bulk.tenant, *dlq_filters.words(where)]
    words += ["--expect", str(found.summary.jobs), "--reason", bulk.reason or "..."]
    words += ["--ticket", bulk.ticket] if bulk.ticket else []
    words += ["--attempts", str(bulk.attempts)] if bulk.attempts else []
    return shlex.join([*words, "--yes"])


# --- before ----------------------------------------------------------------------------------------------------------


def _show(bulk: Bulk, found: DlqCount) -> None:
    if bulk.as_json:
        print_json(dlq_shapes.count(bulk.act, found, command(bulk, found)))
        return
    out = console()
    _print_count(out, found)
    if found.until is not None:
        out.print(f"[dim]nothing was done; to {bulk.act} just these:[/]")
        out.print(Text(command(bulk, found)), soft_wrap=True)


def _say_nothing_matches(bulk: Bulk, found: DlqCount) -> None:
    if bulk.as_json:
        nothing = DlqBulkDone(bulk.act, None, 0, 0, 0, 0, (), None)
        print_json(dlq_shapes.done(bulk.tenant, found.where, nothing))
    else:
        _print_count(console(), found)


def _confirm(bulk: Bulk, found: DlqCount) -> None:
    count = _jobs(found.summary.jobs)
    if bulk.as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise NotConfirmed(
            f"{count} would be {bulk.act}{'d' if bulk.act == 'requeue' else 'ed'}; nothing was done", field="--yes",
            rule="what is done to many jobs is confirmed", hint=command(bulk, found),
        )  # fmt: skip
    _print_count(console(), found)
    if not typer.confirm(f"{bulk.act.capitalize()} {count}?"):
        raise NotConfirmed("nothing was done", rule="what is done to many jobs is confirmed")


def _print_count(out: Console, found: DlqCount) -> None:
    summary, said = found.summary, dlq_filters.in_words(found.where)
    out.print(Text.assemble(
        (_jobs(summary.jobs, "dead "), "bold"), f" of {found.tenant}", f": {said}" if said else "",
    ))  # fmt: skip
    if summary.jobs:
        rows = [(f"{group.jobs:,}", group.job_type, cause(group.reason), group.error_type) for group in summary.groups]
        out.print(table(("jobs", "right"), "type", "cause", "error", rows=rows))
        if summary.group_count > len(summary.groups):
            out.print(f"[dim]and {summary.group_count - len(summary.groups)} smaller groups[/]")
        first, last = time_text(summary.first_dead_at), time_text(summary.last_dead_at)
        out.print(f"\nthey died from {first} to {last} UTC; the last of them:")
        out.print(dead_table(found.sample))
    lists.print_footer(out, [], None, summary.freshness)


def dead_table(rows: tuple[DlqRow, ...]) -> object:
    """Dead jobs, a line each."""
    return table("id", "type", "persona", "cause", ("att", "right"), "dead", "error", rows=[_line(row) for row in rows])


def cause(reason: str) -> str:
    """`attempts exhausted`."""
    return reason.replace("_", " ")


def _line(row: DlqRow) -> tuple[str, ...]:
    return (
        short_id(row.job_id), row.job_type, row.persona or "-", cause(row.reason), str(row.attempt),
        time_text(row.dead_at), first_line(f"{row.error_type}: {row.error_message}"),
    )  # fmt: skip


def _jobs(number: int, what: str = "") -> str:
    return f"{number:,} {what}{'job' if number == 1 else 'jobs'}"


# --- after -----------------------------------------------------------------------------------------------------------


class _Bar:
    """A bar on the terminal that follows the act."""

    def __init__(self, progress: Progress, title: str, jobs: int) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=jobs)

    def __call__(self, far: DlqProgress) -> None:
        self._progress.update(self._task, completed=far.seen)


@contextmanager
def _progress(bulk: Bulk, jobs: int) -> Iterator[_Bar | None]:
    out = error_console()
    if not out.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True) as progress:
        yield _Bar(progress, f"{bulk.act}ing", jobs)


def _print_done(out: Console, bulk: Bulk, done: DlqBulkDone) -> None:
    out.print(f"[bold]{'requeued' if done.act == 'requeue' else 'discarded'} {_jobs(done.changed)}[/]")
    if done.skipped:
        out.print(f"{_jobs(done.skipped)} skipped: no longer there, or died anew, since they were counted")
    if done.refused:
        out.print(Text(f"{_jobs(done.refused)} stay where they are:", style="red"))
        for trouble in done.troubles[:_TROUBLES_SHOWN]:
            out.print(Text(f"  {short_id(trouble.job_id)}  {trouble.message}"), soft_wrap=True)
        if done.refused > _TROUBLES_SHOWN:
            out.print(f"  ... and {done.refused - _TROUBLES_SHOWN} more")
    out.print(f"[dim]on record: jobledger dlq history --tenant {bulk.tenant}[/]", soft_wrap=True)
