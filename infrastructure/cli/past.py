"""`jobledger jobs`: what happened to jobs and why: history, diff, trace, explain."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from jobledger.application.limit_messages import ExplainJob
from jobledger.application.ports import ViewName
from jobledger.application.queries import DiffJob, GetCauses, GetJobHistory, History, TraceRequest
from jobledger.domain.errors import InvalidInput
from jobledger.domain.identifiers import short_id

from ..projecting import catch_up
from ..shapes import jobs as shapes
from ..shapes import past as past_shapes
from ..shapes.history_pages import read_page
from . import lists, options
from .asking import ask
from .diff import print_diff
from .explanation import print_explanation
from .history import HistoryCommand, print_history
from .json_output import print_json
from .output import console
from .session import job_reference, opened
from .trace import TraceCommand, print_trace

_CATCH_UP_SECONDS = 0.2
_TRACED = (ViewName.TRACES, ViewName.TENANT_JOBS)

Bodies = Annotated[bool, typer.Option("--bodies", help="Also payload, result, tracebacks, log lines, step outputs.")]
Everything = Annotated[bool, typer.Option("--all", help="Each progress report and log, one by one.")]
AfterVersion = Annotated[int, typer.Option("--after", min=0, help="Begin after this version of the job.")]
FromVersion = Annotated[int, typer.Argument(metavar="FROM", min=1, help="A version of the job.", show_default=False)]
ToVersion = Annotated[
    int | None,
    typer.Argument(metavar="TO", min=1, help="Another version of it. Default: its last.", show_default=False),
]
DiffBodies = Annotated[bool, typer.Option("--bodies", help="Also the values that differ in the payload.")]
Correlation = Annotated[
    str, typer.Argument(metavar="CORRELATION_ID", help="The request, as its events name it.", show_default=False)
]
AfterJob = Annotated[
    str | None,
    typer.Option("--after", help="Begin after this job (from the last page's hint).", show_default=False),
]


def register(group: typer.Typer) -> None:
    """Add the commands."""
    for command in (history, diff, trace, explain):
        group.command()(command)


def history(
    *,
    job: options.JobId,
    tenant: options.Tenant = None,
    bodies: Bodies = False,
    everything: Everything = False,
    limit: options.Limit = 200,
    after: AfterVersion = 0,
    as_json: options.Json = False,
) -> None:
    """Show what happened to a job: when, by whom, why, how long it took, what caused it and what it caused."""
    with opened() as session:
        owner = session.tenant(tenant)
        catch_up(session.handle, _CATCH_UP_SECONDS, _TRACED)
        causes = ask(session, GetCauses, tenant=owner, job=job_reference(job))

        def read(after_version: int, number: int) -> History:
            return ask(
                session, GetJobHistory, tenant=owner, job=causes.job_id, bodies=bodies, after_version=after_version,
                limit=number,
            )  # fmt: skip

        page = read_page(read, after=after, limit=limit, fold=not (as_json or bodies or everything))
    if as_json:
        print_json(past_shapes.history(owner, page, causes, bodies=bodies))
    else:
        command = HistoryCommand(short_id(causes.job_id), tenant, after, limit, bodies, everything)
        print_history(console(), page, causes, command)


def diff(
    *,
    job: options.JobId,
    from_version: FromVersion,
    to_version: ToVersion = None,
    tenant: options.Tenant = None,
    bodies: DiffBodies = False,
    as_json: options.Json = False,
) -> None:
    """Show what changed between two versions of a job."""
    with opened() as session:
        owner = session.tenant(tenant)
        found = ask(
            session, DiffJob, tenant=owner, job=job_reference(job), from_version=from_version, to_version=to_version,
            bodies=bodies,
        )  # fmt: skip
    if as_json:
        print_json(past_shapes.diff(owner, found))
    else:
        print_diff(console(), found, bodies=bodies)


def trace(
    *,
    correlation_id: Correlation,
    tenant: options.Tenant = None,
    limit: options.Limit = 200,
    after: AfterJob = None,
    as_json: options.Json = False,
) -> None:
    """Show everything that one request caused, as a tree: its jobs, the jobs these caused, what was refused."""
    cursor = None if after is None else _job_id(after)
    with opened() as session:
        owner = session.tenant(tenant)
        catch_up(session.handle, lists.CATCH_UP_SECONDS, _TRACED)
        found = ask(session, TraceRequest, tenant=owner, request=correlation_id, cursor=cursor, limit=limit)
    if as_json:
        print_json(past_shapes.trace(owner, found))
    else:
        print_trace(console(), found, TraceCommand(correlation_id, tenant, limit))


def explain(*, job: options.JobId, tenant: options.Tenant = None, as_json: options.Json = False) -> None:
    """Show why a job is where it is: what it waits for, who runs it since when, what it died of, how it ended."""
    with opened() as session:
        owner = session.tenant(tenant)
        found = ask(session, ExplainJob, tenant=owner, job=job_reference(job))
    if as_json:
        print_json(shapes.explanation(owner, found))
    else:
        print_explanation(console(), owner, found)


def _job_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise InvalidInput(
            f"{text[:60]!r} is not a job's id", field="--after", rule="32 hexadecimal digits",
            hint="take it from the last page: its line `next page`, or `next` in its JSON",
        ) from error  # fmt: skip
