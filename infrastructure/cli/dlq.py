"""`jobledger dlq`: jobs that failed for good. Only people get them out, and say why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from jobledger.application.commands import DiscardJob, JobChanged, RequeueJob
from jobledger.application.dlq_messages import BulkActOfDlq, GetDeadJob, ListDlqActs
from jobledger.application.queries import DlqList, ListDlq
from jobledger.application.result import Refused, Result
from jobledger.domain.errors import InvalidInput

from ..shapes import dlq as dlq_shapes
from ..shapes import jobs as shapes
from ..shapes.texts import time_text
from . import dlq_bulk, dlq_filters, lists, options
from .dead_job import print_dead_job
from .dlq_bulk import Bulk
from .input import parse_edits, pointer, read_payload
from .json_output import print_json
from .output import console
from .session import job_reference, opened

_group = typer.Typer(help="Jobs that failed for good; only people get them out.", no_args_is_help=True)

Ids = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID...]", help="Ids of jobs, or their last eight (or more) characters; or use filters.",
        show_default=False,
    ),
]  # fmt: skip
Attempts = Annotated[
    int | None,
    typer.Option("--attempts", min=1, max=1_000, help="Attempts to grant. Default: its policy's.", show_default=False),
]
Edited = Annotated[
    str | None,
    typer.Option("--payload", help="A payload to run with instead: JSON, @file or - (stdin).", show_default=False),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a place of its payload: path=text or path:=json.", show_default=False),
]
Unset = Annotated[
    list[str] | None, typer.Option("--unset", help="Take a place out of its payload: a path.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="The whole dead-letter queue of the tenant.")]
Expect = Annotated[
    int | None,
    typer.Option("--expect", min=1, help="Do nothing where more jobs match than this.", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before acting on all that match.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what matches.")]
Bodies = Annotated[bool, typer.Option("--bodies", help="Also its payload and the last traceback.")]


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
    persona: dlq_filters.Persona = None,
    cause: dlq_filters.Cause = None,
    error_type: dlq_filters.ErrorType = None,
    fingerprint: dlq_filters.Fingerprint = None,
    since: dlq_filters.Since = None,
    until: dlq_filters.Until = None,
    limit: options.Limit = 50,
    after: options.After = None,
    as_json: options.Json = False,
) -> None:
    """List the dead-letter queue, most recently dead first."""
    with opened() as session:
        owner = session.tenant(tenant)
        where = dlq_filters.fields(
            now=session.handle.ports.clock.now(), job_type=job_type, kind=kind, queue=queue, persona=persona,
            cause=cause, error_type=error_type, fingerprint=fingerprint, since=since, until=until,
        )  # fmt: skip
        page = lists.page_of(session, ListDlq, tenant=owner, **where, cursor=after, limit=limit)
    if as_json:
        rows = [shapes.dlq_row(row) for row in page.rows]
        print_json({"tenant": owner, "jobs": rows, "next": page.cursor, "as_of": shapes.freshness(page.freshness)})
        return
    said = {
        "--tenant": tenant, "--type": job_type, "--kind": kind, "--queue": queue, "--persona": persona,
        "--cause": cause, "--error-type": error_type, "--fingerprint": fingerprint, "--since": since, "--until": until,
    }  # fmt: skip
    _print_list(page, lists.repeat(("dlq", "list"), said, limit), filtered=bool(where))


@_group.command()
def show(
    *,
    job: options.JobId,
    tenant: options.Tenant = None,
    bodies: Bodies = False,
    as_json: options.Json = False,
) -> None:
    """Show why a job is dead, attempt by attempt, and what can be done."""
    with opened() as session:
        owner = session.tenant(tenant)
        dead = session.ask(GetDeadJob, tenant=owner, job=job_reference(job), bodies=bodies)
    if as_json:
        print_json({"job": dlq_shapes.dead_job(dead)})
    else:
        print_dead_job(console(), dead, bodies=bodies)


@_group.command()
def requeue(
    *,
    jobs: Ids = None,
    reason: options.Reason = "",
    ticket: options.Ticket = None,
    attempts: Attempts = None,
    payload: Edited = None,
    put: Set = None,
    unset: Unset = None,
    job_type: lists.Type = None,
    kind: lists.Kind = None,
    queue: lists.Queue = None,
    persona: dlq_filters.Persona = None,
    cause: dlq_filters.Cause = None,
    error_type: dlq_filters.ErrorType = None,
    fingerprint: dlq_filters.Fingerprint = None,
    since: dlq_filters.Since = None,
    until: dlq_filters.Until = None,
    everything: All = False,
    expect: Expect = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    tenant: options.Tenant = None,
    as_json: options.Json = False,
) -> None:
    """Take jobs out of the DLQ and give them new attempts: those named, or all that match filters.

    What filters match is counted and shown first, and confirmed. A named job's payload can be edited.
    """
    edit = _edit(payload, put or [], unset or [])
    with opened() as session:
        where = dlq_filters.fields(
            now=session.handle.ports.clock.now(), job_type=job_type, kind=kind, queue=queue, persona=persona,
            cause=cause, error_type=error_type, fingerprint=fingerprint, since=since, until=until,
        )  # fmt: skip
        owner = session.tenant(tenant)
        bulk = Bulk("requeue", owner, where, reason, ticket, attempts, expect, yes, dry_run, as_json)
        if not _names(jobs, bulk, everything=everything):
            _require_no_edit(edit)
            dlq_bulk.run(session, bulk)
            return
        fields = {"tenant": owner, "reason": reason, "ticket": ticket, "attempts": attempts, **edit}
        results = lists.each(jobs or [], lambda job: session.send(RequeueJob, job=job, **fields))
    _explain_set(results, put or [])
    lists.print_changed(results, as_json=as_json)


@_group.command()
def discard(
    *,
    jobs: Ids = None,
    reason: options.Reason = "",
    ticket: options.Ticket = None,
    job_type: lists.Type = None,
    kind: lists.Kind = None,
    queue: lists.Queue = None,
    persona: dlq_filters.Persona = None,
    cause: dlq_filters.Cause = None,
    error_type: dlq_filters.ErrorType = None,
    fingerprint: dlq_filters.Fingerprint = None,
    since: dlq_filters.Since = None,
    until: dlq_filters.Until = None,
    everything: All = False,
    expect: Expect = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    tenant: options.Tenant = None,
    as_json: options.Json = False,
) -> None:
    """Give jobs of the DLQ up for good: those named, or all that match filters (counted, shown and confirmed first)."""
    with opened() as session:
        where = dlq_filters.fields(
            now=session.handle.ports.clock.now(), job_type=job_type, kind=kind, queue=queue, persona=persona,
            cause=cause, error_type=error_type, fingerprint=fingerprint, since=since, until=until,
        )  # fmt: skip
        owner = session.tenant(tenant)
        bulk = Bulk("discard", owner, where, reason, ticket, None, expect, yes, dry_run, as_json)
        if not _names(jobs, bulk, everything=everything):
            dlq_bulk.run(session, bulk)
            return
        fields = {"tenant": owner, "reason": reason, "ticket": ticket}
        results = lists.each(jobs or [], lambda job: session.send(DiscardJob, job=job, **fields))
    lists.print_changed(results, as_json=as_json)


@_group.command()
def history(
    *,
    tenant: options.Tenant = None,
    limit: options.Limit = 50,
    as_json: options.Json = False,
) -> None:
    """Show what was done to many dead jobs at once: when, by whom, with which filter and why, the latest first."""
    with opened() as session:
        owner = session.tenant(tenant)
        acts, now = session.ask(ListDlqActs, tenant=owner, limit=limit), session.handle.ports.clock.now()
    if as_json:
        print_json({"tenant": owner, "acts": [dlq_shapes.act(act) for act in acts]})
        return
    out = console()
    for act in acts:
        _print_act(out, act, now)
    if not acts:
        out.print("nothing was requeued or discarded by filter yet")


def _names(jobs: list[str] | None, bulk: Bulk, *, everything: bool) -> bool:
    """Whether jobs are named, rather than filtered; InvalidInput for both or neither."""
    filtered = bool(bulk.where) or everything
    if jobs and (filtered or bulk.expect or bulk.dry_run):
        raise InvalidInput("ids name jobs, filters find them", field="ID", rule="ids or filters, not both")
    if everything and bulk.where:
        raise InvalidInput("--all filters nothing", field="--all", rule="--all or filters, not both")
    if not jobs and not filtered:
        raise InvalidInput(
            "which jobs?", field="ID", rule="ids, filters, or --all",
            hint=f"jobledger dlq {bulk.act} --error-type TimeoutError --since 2h --dry-run",
        )  # fmt: skip
    return bool(jobs)


def _edit(payload: str | None, put: list[str], unset: list[str]) -> dict[str, object]:
    """How the payload is edited, as fields of the command."""
    if payload is not None and (put or unset):
        raise InvalidInput("a whole payload, or places of it", field="--payload", rule="not with --set or --unset")
    if payload is not None:
        return {"payload": json.loads(read_payload(payload))}
    edit: dict[str, object] = {"put": parse_edits(put, "--set"), "without": tuple(pointer(path) for path in unset)}
    return {name: value for name, value in edit.items() if value}


def _explain_set(results: Sequence[tuple[str, Result[JobChanged]]], put: list[str]) -> None:
    """Where text was put into a place that takes none, say how numbers and the like are written."""
    texts = {path: value for path, _, value in (text.partition("=") for text in put) if not path.endswith(":")}
    for _, result in results:
        if isinstance(result, Refused) and result.error.hint is None:
            path = (result.error.field or "").removeprefix("payload.")
            if path in texts:
                result.error.hint = f"as JSON, for what is no text: --set {path}:={texts[path]}"


def _require_no_edit(edit: dict[str, object]) -> None:
    if edit:
        raise InvalidInput(
            "payloads are edited one job at a time", field="--payload" if "payload" in edit else "--set",
            rule="is for jobs that are named",
        )  # fmt: skip


def _print_list(page: DlqList, words: list[str], *, filtered: bool) -> None:
    out = console()
    if page.rows:
        out.print(dlq_bulk.dead_table(page.rows))
    else:
        out.print("no dead job matches" if filtered else "the dead-letter queue is empty")
    lists.print_footer(out, words, page.cursor, page.freshness)


def _print_act(out: Console, act: BulkActOfDlq, now: datetime) -> None:
    """Two lines: when, what came of it, by whom; which ones and why."""
    begun, ended = act.begun, act.ended
    done = "requeued" if begun.act == "requeue" else "discarded"
    far = f"{act.progress.seen:,} of {begun.confirmed:,}" if act.progress else f"{begun.confirmed:,}"
    what = f"began to {begun.act} {far}; {'its process died' if act.has_died(now) else 'it goes on'}"
    if ended is not None:
        others = {"skipped": ended.skipped, "refused": ended.refused}
        extra = [f"{number:,} {word}" for word, number in others.items() if number]
        what = ", ".join([f"{done} {ended.changed:,} of {begun.confirmed:,}", *extra])
        what += "" if ended.finished else "; it broke off"
    line = Text.assemble((f"{time_text(act.begun_at)} ", "dim"), (what, "bold"), (f" by {act.actor}", "dim"))
    out.print(line, soft_wrap=True)
    said = dlq_filters.in_words(begun.filter.model_copy(update={"dead_to": None})) or "the whole dead-letter queue"
    ticket = f" ({begun.ticket})" if begun.ticket else ""
    out.print(Text(f"{'':20}{said}: {begun.reason}{ticket}"), soft_wrap=True)
