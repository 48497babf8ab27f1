"""`jobledger limits`: how much may run at once, how fast it may start, and what may not start at all."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer
from rich.text import Text

from jobledger.application.limit_messages import (
    GetLimitHistory,
    ListLimits,
    PauseTarget,
    RemoveLimits,
    ResumeTarget,
    SetLimits,
)
from jobledger.application.writes import LimitRow
from jobledger.domain.limit import CONCURRENCY_MAX, WEIGHT_MAX, Rate, Scope

from ..shapes import jobs as shapes
from ..shapes.limits import limit_entries
from . import options
from .history import print_entries
from .json_output import print_json
from .output import console, table
from .session import opened
from .targets import PAUSED_STYLE, Key, Persona, Queue, Tenant, named, owner, print_target, state_text
from .targets import target_text as text_of

_group = typer.Typer(
    help="How much may run at once, how fast it may start, and what may not start now: of a queue (--queue), a tenant "
    "(--tenant), a persona (--tenant, --persona) or a limit key of jobs (--tenant, --key). A limited or paused one "
    "never holds up another.",
    no_args_is_help=True,
)

Concurrency = Annotated[
    int | None,
    typer.Option("--concurrency", "-c", min=1, max=CONCURRENCY_MAX, show_default=False,
                 help="Jobs that run at the same time, at most. For none at all, pause it."),
]  # fmt: skip
RateText = Annotated[
    str | None,
    typer.Option("--rate", help="Starts in any window of that length, at most: 100/60s, 10/s, 1000/1h.",
                 show_default=False),
]  # fmt: skip
Weight = Annotated[
    int | None,
    typer.Option("--weight", min=1, max=WEIGHT_MAX,
                 help="A tenant's share of the turns: 5 gets five jobs for one of a tenant with 1, the default.",
                 show_default=False),
]  # fmt: skip
Which = Annotated[Scope | None, typer.Option("--scope", help="Only these.", show_default=False)]
AfterVersion = Annotated[int, typer.Option("--after", min=0, help="Begin after this change of the target.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(_group, name="limits")


@_group.command("list")
def list_limits(
    *,
    tenant: Annotated[
        str | None, typer.Option("--tenant", "-t", help="Only what is this tenant's own.", show_default=False)
    ] = None,
    scope: Which = None,
    as_json: options.Json = False,
) -> None:
    """List everything that is limited or paused."""
    with opened() as session:
        rows = session.ask(ListLimits, tenant=tenant, scope=scope)
    if as_json:
        print_json({"limits": [shapes.limit(row) for row in rows]})
    elif not rows:
        console().print("nothing is limited or paused")
    else:
        columns = ("what", "tenant", "name", ("at a time", "right"), "rate", ("weight", "right"), "")
        console().print(table(*columns, rows=[_line(row) for row in rows]))


@_group.command("set")
def set_limits(
    *,
    queue: Queue = None,
    tenant: Tenant = None,
    persona: Persona = None,
    key: Key = None,
    concurrency: Concurrency = None,
    rate: RateText = None,
    weight: Weight = None,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Limit a target. What you do not name stays as it is; jobs that run already are left alone."""
    with opened() as session:
        changed = session.ask(
            SetLimits, **named(session, queue=queue, tenant=tenant, persona=persona, key=key), concurrency=concurrency,
            rate=None if rate is None else Rate.parse(rate), weight=weight, reason=reason,
        )  # fmt: skip
    print_target(changed, as_json=as_json)


@_group.command()
def remove(
    *,
    queue: Queue = None,
    tenant: Tenant = None,
    persona: Persona = None,
    key: Key = None,
    concurrency: Annotated[bool, typer.Option("--concurrency", help="Only the limit of jobs at a time.")] = False,
    rate: Annotated[bool, typer.Option("--rate", help="Only the rate.")] = False,
    weight: Annotated[bool, typer.Option("--weight", help="Only the weight.")] = False,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Remove the limits that are named, or all of a target. A pause stays."""
    with opened() as session:
        changed = session.ask(
            RemoveLimits, **named(session, queue=queue, tenant=tenant, persona=persona, key=key),
            concurrency=concurrency, rate=rate, weight=weight, reason=reason,
        )  # fmt: skip
    print_target(changed, as_json=as_json)


@_group.command()
def pause(
    *,
    queue: Queue = None,
    tenant: Tenant = None,
    persona: Persona = None,
    key: Key = None,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Start nothing of a target until it is resumed. Jobs are still taken; those that run go on to their end."""
    with opened() as session:
        where = named(session, queue=queue, tenant=tenant, persona=persona, key=key)
        changed = session.ask(PauseTarget, **where, reason=reason)
    print_target(changed, as_json=as_json)


@_group.command()
def resume(
    *,
    queue: Queue = None,
    tenant: Tenant = None,
    persona: Persona = None,
    key: Key = None,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Start jobs of a paused target again; those that waited start at once."""
    with opened() as session:
        where = named(session, queue=queue, tenant=tenant, persona=persona, key=key)
        changed = session.ask(ResumeTarget, **where, reason=reason)
    print_target(changed, as_json=as_json)


@_group.command()
def history(
    *,
    queue: Queue = None,
    tenant: Tenant = None,
    persona: Persona = None,
    key: Key = None,
    limit: options.Limit = 100,
    after: AfterVersion = 0,
    as_json: options.Json = False,
) -> None:
    """Show who limited, paused and resumed a target, when and why."""
    with opened() as session:
        where = named(session, queue=queue, tenant=tenant, persona=persona, key=key)
        past = session.ask(GetLimitHistory, **where, after_version=after, limit=limit)
    if as_json:
        print_json(shapes.limit_history(past, limit_entries(past.events)))
        return
    out = console()
    out.print(Text.assemble((text_of(past.target), "bold"), ": ", state_text(past.state)), soft_wrap=True)
    print_entries(out, limit_entries(past.events))
    if past.next_version is not None:
        said = {"--queue": queue, "--tenant": where["tenant"], "--persona": persona, "--key": key}
        words = [word for option, value in said.items() if value is not None for word in (option, value)]
        command = shlex.join(["limits", "history", *words, "--after", str(past.next_version)])
        out.print(Text.assemble(("next page: ", "dim"), f"jobledger {command}"), soft_wrap=True)


def _line(row: LimitRow) -> tuple[str | Text, ...]:
    limits, target = row.state.limits, row.target
    return (
        target.scope.value, owner(target), target.subject,
        "-" if limits.concurrency is None else str(limits.concurrency),
        "-" if limits.rate is None else str(limits.rate),
        "-" if target.scope is not Scope.TENANT else str(limits.weight),
        Text("paused" if row.state.paused else "", style=PAUSED_STYLE),
    )  # fmt: skip
