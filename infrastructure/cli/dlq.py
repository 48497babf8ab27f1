"""`jobledger dlq`: jobs that failed for good. Only people get them out, and say why."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from jobledger.application.commands import DiscardJob, RequeueJob
from jobledger.application.ports import DlqRow
from jobledger.application.queries import DlqList, ListDlq
from jobledger.domain.identifiers import short_id

from . import lists, options, shapes
from .input import read_payload
from .json_output import print_json
from .output import console, table, time_text
from .session import opened
from .times import parse_time

_group = typer.Typer(help="Jobs that failed for good; only people get them out.", no_args_is_help=True)

Attempts = Annotated[
    int | None,
    typer.Option("--attempts", min=1, max=1_000, help="Attempts to grant. Default: its policy's.", show_default=False),
]
Edited = Annotated[
    str | None,
    typer.Option("--payload", help="A payload to run with instead: JSON, @file or - (stdin).", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(_group, name="dlq")


@_group.command("list")
def list_dlq(
    *,
    tenant: options.Tenant = None,
    job_type: lists.Type = None,
    kind: lists.Kind = None,
    queue: lists.Queue = None,
    since: lists.Since = None,
    until: lists.Until = None,
    limit: options.Limit = 50,
    after: options.After = None,
    as_json: options.Json = False,
) -> None:
    """List the dead-letter queue, most recently dead first. --since and --until count from when they died."""
    with opened() as session:
        owner = session.tenant(tenant)
        page = lists.page_of(
            session, ListDlq, tenant=owner, job_type=job_type, kind=lists.parse_kind(kind), queue=queue,
            dead_from=parse_time(since, "--since"), dead_to=parse_time(until, "--until"), cursor=after, limit=limit,
        )  # fmt: skip
    if as_json:
        rows = [shapes.dlq_row(row) for row in page.rows]
        print_json({"tenant": owner, "jobs": rows, "next": page.cursor, "as_of": shapes.freshness(page.freshness)})
        return
    said = {
        "--tenant": tenant, "--type": job_type, "--kind": kind, "--queue": queue, "--since": since, "--until": until,
    }  # fmt: skip
    _print_list(page, lists.repeat(("dlq", "list"), said, limit))


@_group.command()
def requeue(
    *,
    jobs: options.JobIds,
    reason: options.Reason = "",
    ticket: options.Ticket = None,
    attempts: Attempts = None,
    payload: Edited = None,
    tenant: options.Tenant = None,
    as_json: options.Json = False,
) -> None:
    """Take jobs out of the DLQ and give them new attempts."""
    edited = None if payload is None else json.loads(read_payload(payload))
    with opened() as session:
        owner = session.tenant(tenant)
        fields = {"tenant": owner, "reason": reason, "ticket": ticket, "attempts": attempts, "payload": edited}
        results = lists.each(jobs, lambda job: session.send(RequeueJob, job=job, **fields))
    lists.print_changed(results, as_json=as_json)


@_group.command()
def discard(
    *,
    jobs: options.JobIds,
    reason: options.Reason = "",
    ticket: options.Ticket = None,
    tenant: options.Tenant = None,
    as_json: options.Json = False,
) -> None:
    """Give jobs of the DLQ up for good."""
    with opened() as session:
        owner = session.tenant(tenant)
        fields = {"tenant": owner, "reason": reason, "ticket": ticket}
        results = lists.each(jobs, lambda job: session.send(DiscardJob, job=job, **fields))
    lists.print_changed(results, as_json=as_json)


def _print_list(page: DlqList, words: list[str]) -> None:
    out = console()
    if page.rows:
        columns = ("id", "type", "persona", "reason", ("att", "right"), "dead", "error")
        out.print(table(*columns, rows=[_line(row) for row in page.rows]))
    else:
        out.print("the dead-letter queue is empty")
    lists.print_footer(out, words, page.cursor, page.freshness)


def _line(row: DlqRow) -> tuple[str, ...]:
    return (
        short_id(row.job_id), row.job_type, row.persona or "-", row.reason.replace("_", " "), str(row.attempt),
        time_text(row.dead_at), f"{row.error_type}: {row.error_message}",
    )  # fmt: skip
