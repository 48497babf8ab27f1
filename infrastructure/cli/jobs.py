"""`jobledger jobs`: list, show, cancel, reschedule; what happened to jobs stands in `past`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from jobledger.application.commands import CancelJob, RescheduleJob
from jobledger.application.investigating import SCAN_MAX
from jobledger.application.limit_messages import ExplainJob
from jobledger.application.ports import JobListRow
from jobledger.application.queries import (
    GetJob,
    JobList,
    JobListAsOf,
    ListJobsAsOf,
    ListPersonaJobs,
    ListTenantJobs,
)
from jobledger.application.result import Accepted
from jobledger.domain.identifiers import short_id
from jobledger.domain.job import WAITING, JobStatus

from ..shapes import jobs as shapes
from ..shapes import past as past_shapes
from ..shapes.texts import first_line, iso, moment_text, time_text
from . import lists, options, past
from .asking import ask, send
from .details import print_details
from .json_output import print_json
from .output import console, status_text, table
from .session import job_reference, opened
from .times import parse_as_of, parse_past, parse_time

_group = typer.Typer(help="Look at jobs, and change what waits or runs.", no_args_is_help=True)

Status = Annotated[JobStatus | None, typer.Option("--status", "-s", help="Only this status.", show_default=False)]
Persona = Annotated[str | None, typer.Option("--persona", "-p", help="Only jobs of this persona.", show_default=False)]
Failed = Annotated[
    bool | None,
    typer.Option("--failed/--not-failed", help="Last attempt failed and not completed since.", show_default=False),
]
ShownBodies = Annotated[bool, typer.Option("--bodies/--no-bodies", help="Payload and result. A look is recorded.")]
ListAsOf = Annotated[
    str | None,
    typer.Option("--as-of", help="As the jobs were at this time, or 2h ago: folded from their streams.",
                 show_default=False),
]  # fmt: skip
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", help="As it was: a version of the job, a time (with zone), or an age such as 2h.",
                 show_default=False),
]  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(_group, name="jobs")
    past.register(_group)


@_group.command("list")
def list_jobs(
    *,
    tenant: options.Tenant = None,
    persona: Persona = None,
    status: Status = None,
    failed: Failed = None,
    job_type: lists.Type = None,
    kind: lists.Kind = None,
    queue: lists.Queue = None,
    since: lists.Since = None,
    until: lists.Until = None,
    limit: options.Limit = 50,
    after: options.After = None,
    as_of: ListAsOf = None,
    as_json: options.Json = False,
) -> None:
    """List jobs, newest first: as they are or, with --as-of, as they were at a moment."""
    with opened() as session:
        owner, now = session.tenant(tenant), session.handle.ports.clock.now()
        where = {
            "tenant": owner, "status": status, "failed": failed, "job_type": job_type,
            "kind": lists.parse_kind(kind), "queue": queue, "created_from": parse_past(since, "--since", now),
            "created_to": parse_past(until, "--until", now), "cursor": after, "limit": limit,
        }  # fmt: skip
        moment = parse_past(as_of, "--as-of", now)
        page: JobList | JobListAsOf
        if moment is not None:
            page = lists.page_of(session, ListJobsAsOf, **where, persona=persona, as_of=moment)
        elif persona is None:
            page = lists.page_of(session, ListTenantJobs, **where)
        else:
            page = lists.page_of(session, ListPersonaJobs, **where, persona=persona)
    if as_json:
        _print_list_json(owner, page)
        return
    said = {
        "--tenant": tenant, "--persona": persona, "--status": status, "--type": job_type, "--kind": kind,
        "--queue": queue, "--since": since, "--until": until,
        "--as-of": None if moment is None else iso(moment),
    }  # fmt: skip
    words = lists.repeat(("jobs", "list"), said, limit)
    if failed is not None:
        words.append("--failed" if failed else "--not-failed")
    _print_list(page, words)


@_group.command()
def show(
    *,
    job: options.JobId,
    tenant: options.Tenant = None,
    as_of: AsOf = None,
    bodies: ShownBodies = True,
    as_json: options.Json = False,
) -> None:
    """Show one job, always current (of one that waits also what it waits for), or as it was.

    That its payload and result were looked at is recorded.
    """
    with opened() as session:
        owner, now = session.tenant(tenant), session.handle.ports.clock.now()
        details = ask(
            session, GetJob, tenant=owner, job=job_reference(job), as_of=parse_as_of(as_of, "--as-of", now),
            bodies=bodies,
        )  # fmt: skip
        waits = None
        if details.past is None and details.status in WAITING:
            waits = ask(session, ExplainJob, tenant=owner, job=details.job_id)
    if as_json:
        print_json({"job": {**shapes.details(details), "waits_for": shapes.holds(waits) if waits else []}})
    else:
        print_details(console(), details, waits)


@_group.command()
def cancel(
    *,
    jobs: options.JobIds,
    reason: options.Reason = "",
    tenant: options.Tenant = None,
    as_json: options.Json = False,
) -> None:
    """Cancel jobs that wait; ask running ones to stop."""
    with opened() as session:
        owner = session.tenant(tenant)
        results = lists.each(jobs, lambda job: send(session, CancelJob, tenant=owner, job=job, reason=reason))
    lists.print_changed(results, as_json=as_json, running="asked to stop")


@_group.command()
def reschedule(
    *,
    job: options.JobId,
    priority: Annotated[
        int | None, typer.Option("--priority", min=-100, max=100, help="Higher first.", show_default=False)
    ] = None,
    run_at: Annotated[
        str | None, typer.Option("--run-at", help="Not before this time (with zone).", show_default=False)
    ] = None,
    reason: options.Reason = "",
    tenant: options.Tenant = None,
    as_json: options.Json = False,
) -> None:
    """Change a job's priority, or when it runs."""
    with opened() as session:
        changed = ask(
            session, RescheduleJob, tenant=session.tenant(tenant), job=job_reference(job), reason=reason,
            priority=priority, due_at=parse_time(run_at, "--run-at"),
        )  # fmt: skip
    lists.print_changed([(job, Accepted(changed))], as_json=as_json)


def _print_list_json(tenant: str, page: JobList | JobListAsOf) -> None:
    if isinstance(page, JobListAsOf):
        print_json(past_shapes.jobs_as_of(tenant, page))
        return
    rows = [shapes.job_row(row) for row in page.rows]
    print_json({"tenant": tenant, "jobs": rows, "next": page.cursor, "as_of": shapes.freshness(page.freshness)})


def _print_list(page: JobList | JobListAsOf, words: list[str]) -> None:
    out = console()
    if page.rows:
        columns = (
            "id",
            "type",
            "status",
            "persona",
            "queue",
            ("prio", "right"),
            ("att", "right"),
            "updated (UTC)",
            "error",
        )
        out.print(table(*columns, rows=[_line(row) for row in page.rows]))
    elif page.cursor is None:
        out.print("no jobs")
    if isinstance(page, JobListAsOf):
        _print_as_of(out, page)
    lists.print_footer(out, words, page.cursor, page.freshness)


def _print_as_of(out: Console, page: JobListAsOf) -> None:
    looked = f"{page.scanned:,} {'job' if page.scanned == 1 else 'jobs'} looked at"
    out.print(f"[bold yellow]as they were at {moment_text(page.as_of)}[/] [dim]({looked})[/]")
    if page.cursor is not None and page.scanned >= SCAN_MAX:
        out.print(f"[dim]this page is short: one looks at {SCAN_MAX:,} jobs at most; there may be more[/]")


def _line(row: JobListRow) -> tuple[str | Text, ...]:
    error = first_line(f"{row.error_type}: {row.error_message}") if row.error_type and row.failed else ""
    return (
        short_id(row.job_id), row.job_type, status_text(row.status.value, failed=row.failed), row.persona or "-",
        row.queue, str(row.priority), f"{row.attempts_counted}/{row.attempts_allowed}", time_text(row.updated_at),
        error,
    )  # fmt: skip
