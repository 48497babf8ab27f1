"""`jobledger jobs`: list, show, history, cancel, reschedule."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from jobledger.application.commands import CancelJob, RescheduleJob
from jobledger.application.limit_messages import ExplainJob
from jobledger.application.ports import JobListRow
from jobledger.application.queries import GetJob, GetJobHistory, JobList, ListPersonaJobs, ListTenantJobs
from jobledger.application.result import Accepted
from jobledger.domain.identifiers import short_id
from jobledger.domain.job import WAITING, JobStatus

from . import lists, options, shapes
from .details import print_details
from .history import print_history
from .json_output import print_json
from .output import console, first_line, status_text, table, time_text
from .session import job_reference, opened
from .times import parse_past, parse_time

_group = typer.Typer(help="Look at jobs, and change what waits or runs.", no_args_is_help=True)

Status = Annotated[JobStatus | None, typer.Option("--status", "-s", help="Only this status.", show_default=False)]
Persona = Annotated[str | None, typer.Option("--persona", "-p", help="Only jobs of this persona.", show_default=False)]
Failed = Annotated[
    bool | None,
    typer.Option("--failed/--not-failed", help="Last attempt failed and not completed since.", show_default=False),
]
Bodies = Annotated[bool, typer.Option("--bodies", help="Also payload, result, tracebacks, log lines, step outputs.")]
AfterVersion = Annotated[int, typer.Option("--after", min=0, help="Begin after this version of the job.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(_group, name="jobs")


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
    as_json: options.Json = False,
) -> None:
    """List jobs, newest first."""
    with opened() as session:
        owner, now = session.tenant(tenant), session.handle.ports.clock.now()
        where = {
            "tenant": owner, "status": status, "failed": failed, "job_type": job_type,
            "kind": lists.parse_kind(kind), "queue": queue, "created_from": parse_past(since, "--since", now),
            "created_to": parse_past(until, "--until", now), "cursor": after, "limit": limit,
        }  # fmt: skip
        page = (
            lists.page_of(session, ListTenantJobs, **where)
            if persona is None
            else lists.page_of(session, ListPersonaJobs, **where, persona=persona)
        )
    if as_json:
        _print_list_json(owner, page)
        return
    said = {
        "--tenant": tenant, "--persona": persona, "--status": status, "--type": job_type, "--kind": kind,
        "--queue": queue, "--since": since, "--until": until,
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
    as_json: options.Json = False,
) -> None:
    """Show one job, always current; of one that waits also what it waits for, at this moment."""
    with opened() as session:
        owner = session.tenant(tenant)
        details = session.ask(GetJob, tenant=owner, job=job_reference(job))
        waits = session.ask(ExplainJob, tenant=owner, job=details.job_id) if details.status in WAITING else None
    if as_json:
        print_json({"job": {**shapes.details(details), "waits_for": shapes.holds(waits) if waits else []}})
    else:
        print_details(console(), details, waits)


@_group.command()
def history(
    *,
    job: options.JobId,
    tenant: options.Tenant = None,
    bodies: Bodies = False,
    limit: options.Limit = 200,
    after: AfterVersion = 0,
    as_json: options.Json = False,
) -> None:
    """Show what happened to a job, when, by whom and why."""
    with opened() as session:
        owner = session.tenant(tenant)
        reference = job_reference(job)
        past = session.ask(GetJobHistory, tenant=owner, job=reference, bodies=bodies, after_version=after, limit=limit)
    if as_json:
        print_json(shapes.history(owner, past, bodies=bodies))
    else:
        print_history(console(), past, bodies=bodies, tenant=tenant)


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
        results = lists.each(jobs, lambda job: session.send(CancelJob, tenant=owner, job=job, reason=reason))
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
        changed = session.ask(
            RescheduleJob, tenant=session.tenant(tenant), job=job_reference(job), reason=reason, priority=priority,
            due_at=parse_time(run_at, "--run-at"),
        )  # fmt: skip
    lists.print_changed([(job, Accepted(changed))], as_json=as_json)


def _print_list_json(tenant: str, page: JobList) -> None:
    rows = [shapes.job_row(row) for row in page.rows]
    print_json({"tenant": tenant, "jobs": rows, "next": page.cursor, "as_of": shapes.freshness(page.freshness)})


def _print_list(page: JobList, words: list[str]) -> None:
    out = console()
    if page.rows:
        columns = ("id", "type", "status", "persona", "queue", ("prio", "right"), ("att", "right"), "updated", "error")
        out.print(table(*columns, rows=[_line(row) for row in page.rows]))
    else:
        out.print("no jobs")
    lists.print_footer(out, words, page.cursor, page.freshness)


def _line(row: JobListRow) -> tuple[str | Text, ...]:
    error = first_line(f"{row.error_type}: {row.error_message}") if row.error_type and row.failed else ""
    return (
        short_id(row.job_id), row.job_type, status_text(row.status.value, failed=row.failed), row.persona or "-",
        row.queue, str(row.priority), f"{row.attempts_counted}/{row.attempts_allowed}", time_text(row.updated_at),
        error,
    )  # fmt: skip
