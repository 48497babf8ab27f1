"""`jobledger dispatch`: one job by hand, or many from a file. Always manual: with actor and reason."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from jobledger.application.commands import BulkReceipt, DispatchJob, DispatchJobs, ItemResult, Receipt
from jobledger.application.dispatch_item import Dispatch, parse_lines
from jobledger.application.result import Refused
from jobledger.domain.errors import InvalidInput, ReasonRequired
from jobledger.domain.identifiers import short_id

from . import errors, options
from .exit_codes import ExitCode
from .input import read_lines, read_payload
from .json_output import print_json
from .output import console, error_console
from .session import opened
from .times import parse_time

_SHOWN_REFUSALS = 20

Type = Annotated[
    str | None, typer.Argument(metavar="TYPE", help="The job type, for example invoice.send.", show_default=False)
]
PayloadText = Annotated[str, typer.Option("--payload", help="JSON, @file, or - for stdin.")]
Persona = Annotated[
    str | None, typer.Option("--persona", "-p", help="The agent that the job is for.", show_default=False)
]
Queue = Annotated[str | None, typer.Option("--queue", "-q", help="Default: that of the type.", show_default=False)]
Priority = Annotated[
    int | None, typer.Option("--priority", min=-100, max=100, help="Higher first.", show_default=False)
]
Delay = Annotated[float | None, typer.Option("--delay", min=0, help="Seconds to wait first.", show_default=False)]
RunAt = Annotated[str | None, typer.Option("--run-at", help="Not before this time (with zone).", show_default=False)]
Key = Annotated[
    str | None, typer.Option("--idempotency-key", help="The same key again gives the first job.", show_default=False)
]
LimitKey = Annotated[
    str | None,
    typer.Option("--limit-key", help="A key that limits may be set for: jobledger limits set --key.",
                 show_default=False),
]  # fmt: skip
Lines = Annotated[
    str | None,
    typer.Option(
        "--jsonl", help="Many: a file of JSON lines (or -), each an object with type, payload and options.",
        show_default=False,
    ),
]  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(dispatch)


def dispatch(
    *,
    job_type: Type = None,
    payload: PayloadText = "{}",
    tenant: options.Tenant = None,
    persona: Persona = None,
    queue: Queue = None,
    priority: Priority = None,
    delay: Delay = None,
    run_at: RunAt = None,
    idempotency_key: Key = None,
    limit_key: LimitKey = None,
    jsonl: Lines = None,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Dispatch a job by hand, or many with --jsonl. Recorded as manual, with who and why."""
    if not reason.strip():
        raise ReasonRequired("a manual dispatch")
    if jsonl is not None:
        one_job = (job_type, queue, priority, delay, run_at, idempotency_key, limit_key)
        if any(option is not None for option in one_job):
            raise InvalidInput("each line says its own type and options", field="--jsonl", rule="no TYPE, no options")
        _dispatch_lines(read_lines(jsonl), tenant, persona, reason, as_json=as_json)
        return
    if job_type is None:
        raise InvalidInput("which job type?", field="TYPE", rule="is required without --jsonl")
    item = Dispatch(
        job_type, payload=read_payload(payload), persona=persona, queue=queue, priority=priority, delay_seconds=delay,
        run_at=parse_time(run_at, "--run-at"), idempotency_key=idempotency_key, limit_key=limit_key,
        manual=True, reason=reason,
    )  # fmt: skip
    _dispatch_one(item, tenant, as_json=as_json)


def _dispatch_one(item: Dispatch, tenant: str | None, *, as_json: bool) -> None:
    with opened() as session:
        owner = session.tenant(tenant)
        receipt = session.ask(DispatchJob, item=item._replace(tenant=owner))
    if as_json:
        print_json(_receipt(receipt))
        return
    out = console()
    word = "already dispatched as" if receipt.duplicate else "dispatched"
    out.print(f"{word} [bold]{receipt.job_id}[/]", soft_wrap=True)
    out.print(f"[dim]follow it: jobledger jobs history {short_id(receipt.job_id)} --tenant {owner}[/]", soft_wrap=True)


def _dispatch_lines(lines: list[str], tenant: str | None, persona: str | None, reason: str, *, as_json: bool) -> None:
    with opened() as session:
        default_tenant = tenant or session.settings.tenant or ""
        items = parse_lines(lines, tenant=default_tenant, persona=persona, reason=reason)
        bulk = session.ask(DispatchJobs, items=items, keep_accepted=as_json)
    if as_json:
        print_json(_bulk_shape(bulk))
    else:
        _print_bulk(bulk)
    if bulk.refused:
        raise typer.Exit(ExitCode.REFUSED)


def _receipt(receipt: Receipt) -> dict[str, object]:
    return {"job_id": str(receipt.job_id), "position": receipt.position, "duplicate": receipt.duplicate}


def _bulk_shape(bulk: BulkReceipt) -> dict[str, object]:
    return {
        "accepted": bulk.accepted, "duplicates": bulk.duplicates, "refused": bulk.refused, "position": bulk.position,
        "items": [_item_shape(item) for item in bulk.results],
    }  # fmt: skip


def _item_shape(item: ItemResult) -> dict[str, object]:
    if isinstance(item.result, Refused):
        return {"line": item.line, "error": errors.as_json(item.result.error)}
    return {"line": item.line, **_receipt(item.result.value)}


def _print_bulk(bulk: BulkReceipt) -> None:
    again = f", {bulk.duplicates} of them dispatched before" if bulk.duplicates else ""
    console().print(f"{bulk.accepted} dispatched{again}, {bulk.refused} refused")
    refused = [item for item in bulk.results if not item.result.is_accepted]
    _print_refused(error_console(), refused)


def _print_refused(out: Console, refused: list[ItemResult]) -> None:
    for item in refused[:_SHOWN_REFUSALS]:
        if isinstance(item.result, Refused):
            out.print(Text(f"line {item.line}: {item.result.error}", style="red"), soft_wrap=True)
    if len(refused) > _SHOWN_REFUSALS:
        out.print(f"... and {len(refused) - _SHOWN_REFUSALS} more; --json shows all")
