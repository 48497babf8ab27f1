"""What the job list and the DLQ have in common: filters, the next page, and how current they are."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, TypeVar, get_args

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from jobledger.application.commands import JobChanged
from jobledger.application.message import Message
from jobledger.application.ports import EVERY_VIEW, Freshness, HorizonHold, ViewName
from jobledger.application.queries import ListDlq, ListPersonaJobs, ListTenantJobs
from jobledger.application.result import Refused, Result
from jobledger.domain.errors import InvalidInput
from jobledger.domain.identifiers import short_id
from jobledger.domain.job import JobKind, JobStatus

from ..projecting import catch_up
from ..shapes import jobs as shapes
from ..shapes.texts import duration_text, time_text
from . import errors
from .asking import ask
from .exit_codes import ExitCode
from .json_output import print_json
from .output import console, status_text
from .session import Session, job_reference

R = TypeVar("R")

CATCH_UP_SECONDS = 2.0
_VIEWS: dict[object, ViewName] = {
    ListTenantJobs: ViewName.TENANT_JOBS, ListPersonaJobs: ViewName.PERSONA_JOBS, ListDlq: ViewName.DLQ_JOBS,
}  # fmt: skip
"""What a list is read from: only that is brought up to date for it."""

Type = Annotated[str | None, typer.Option("--type", help="Only jobs of this type.", show_default=False)]
Kind = Annotated[str | None, typer.Option("--kind", help=f"Only {', '.join(get_args(JobKind))}.", show_default=False)]
Queue = Annotated[str | None, typer.Option("--queue", "-q", help="Only jobs of this queue.", show_default=False)]
Since = Annotated[
    str | None, typer.Option("--since", help="Only jobs created since this time, or for 2h, 7d.", show_default=False)
]
Until = Annotated[
    str | None, typer.Option("--until", help="Only jobs created before this time, or 2h ago.", show_default=False)
]


def page_of(session: Session, query: type[Message[R]], **fields: object) -> R:
    """A page of a list, after bringing a list up to date that no other process keeps current."""
    view = _VIEWS.get(query)
    catch_up(session.handle, CATCH_UP_SECONDS, EVERY_VIEW if view is None else (view,))
    return ask(session, query, **fields)


def print_footer(console: Console, words: list[str], cursor: str | None, fresh: Freshness) -> None:
    """How current the list is, and the command that shows what follows. `words` is the command without `--after`."""
    print_freshness(console, fresh)
    if cursor is not None:
        command = escape(shlex.join([*words, "--after", cursor]))
        console.print(f"[dim]next page:[/] jobledger {command}", soft_wrap=True)


def print_freshness(console: Console, fresh: Freshness) -> None:
    """Until when a list shows everything, and why it may show less than there is."""
    console.print(f"[dim]{_as_of(fresh)}[/]")
    for warning in freshness_warnings(fresh):
        console.print(f"[yellow]![/] {escape(warning)}", soft_wrap=True)


def _as_of(fresh: Freshness) -> str:
    if fresh.position >= fresh.head and (fresh.hold is None or fresh.hold.waiting_since is None):
        return f"{as_of_text(fresh)}, nothing is missing"
    return f"{as_of_text(fresh)}; what was recorded since is not in it yet"


def as_of_text(fresh: Freshness) -> str:
    """`as of 2026-03-01 09:30:05 UTC`: the last event that a list has taken; by position where that has no time."""
    if fresh.recorded_at is not None:
        return f"as of {time_text(fresh.recorded_at)} UTC"
    return f"as of position {fresh.position}" if fresh.position else "as of the beginning of the ledger"


def freshness_warnings(fresh: Freshness) -> list[str]:
    """What keeps a list from showing everything, for an operator to do something about; mostly nothing."""
    warnings = []
    if fresh.parked:
        counted = "1 event is" if fresh.parked == 1 else f"{fresh.parked:,} events are"
        warnings.append(
            f"{counted} parked: this list may miss what they say; jobledger projections parked {fresh.projection}"
        )
    if fresh.hold is not None:
        warnings.append(_hold_text(fresh.hold))
    return warnings


def _hold_text(hold: HorizonHold) -> str:
    """Since when nothing newer can be read, and which transaction has to end."""
    named = [f"login {hold.login}" if hold.login else "", f"pid {hold.pid}" if hold.pid else "", hold.state or ""]
    known = ", ".join(part for part in named if part)
    who = f"a transaction of {hold.application}" if hold.application else "a transaction"
    if hold.pid is None:
        who = "a prepared transaction"
    waits = (
        f"; an event of {time_text(hold.waiting_since)} waits for it" if hold.waiting_since else "; nothing waits yet"
    )
    return (
        f"lists stand still since {time_text(hold.since)} UTC ({duration_text(round(hold.seconds, 1))}): {who}"
        f"{f' ({known})' if known else ''} has written to the ledger and is still open{waits}"
    )


def parse_kind(text: str | None) -> JobKind | None:
    """A kind of job; InvalidInput names all of them."""
    for kind in get_args(JobKind):
        if kind == text:
            return kind  # type: ignore[no-any-return]
    if text is None:
        return None
    raise InvalidInput(f"{text!r} is no kind of job", field="--kind", rule=f"one of {', '.join(get_args(JobKind))}")


def repeat(command: tuple[str, ...], said: Mapping[str, str | None], limit: int) -> list[str]:
    """The words of a list's command with the options that were given, to be run again for the next page."""
    chosen = [word for option, value in said.items() if value is not None for word in (option, str(value))]
    return [*command, *chosen, "--limit", str(limit)]


def each(jobs: Sequence[str], act: Callable[[str], Result[JobChanged]]) -> list[tuple[str, Result[JobChanged]]]:
    """What became of each job; ids that are none are refused before anything is done."""
    references = [(job, job_reference(job)) for job in jobs]
    return [(job, act(reference)) for job, reference in references]


def print_changed(
    results: Sequence[tuple[str, Result[JobChanged]]], *, as_json: bool, running: str | None = None
) -> None:
    """What became of jobs after a command; `running` says what it means for one that runs on.

    A refusal of the only one is raised; among several, each is shown and the exit code is that of a refusal.
    """
    if len(results) == 1:
        results[0][1].unwrap()
    if as_json:
        print_json({"jobs": [_changed_shape(said, result) for said, result in results]})
    else:
        out = console()
        for said, result in results:
            out.print(*_changed_line(said, result, running))
    if not all(result.is_accepted for _, result in results):
        raise typer.Exit(ExitCode.REFUSED)


def _changed_shape(said: str, result: Result[JobChanged]) -> shapes.Shape:
    if isinstance(result, Refused):
        return {"job": said, "error": errors.as_json(result.error)}
    return {"job": said, **shapes.changed(result.value)}


def _changed_line(said: str, result: Result[JobChanged], running: str | None) -> tuple[str | Text, ...]:
    if isinstance(result, Refused):
        return said, Text(f"refused: {result.error}", style="red")
    status = status_text(result.value.status.value)
    if running and result.value.status is JobStatus.IN_PROGRESS:
        status.append(f", {running}")
    return short_id(result.value.job_id), status
