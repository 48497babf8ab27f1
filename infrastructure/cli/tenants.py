"""`jobledger tenants`: nothing runs without one."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from jobledger.application.commands import CreateTenant, ResumeTenant, SuspendTenant, TenantChanged
from jobledger.application.limit_messages import ListLimits, PauseTarget, ResumeTarget
from jobledger.application.queries import ListTenants
from jobledger.application.writes import TenantRow
from jobledger.domain.limit import FlowState, Scope

from ..shapes import jobs as shapes
from . import options
from .json_output import print_json
from .output import console, status_text, table
from .session import opened
from .targets import PAUSED_STYLE, print_target

_group = typer.Typer(
    help="Create, list, suspend and pause tenants. A paused tenant's jobs are taken and wait; a suspended tenant's are "
    "refused, and those that wait go to the dead-letter queue.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The tenant.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(_group, name="tenants")


@_group.command()
def create(
    *,
    name: Annotated[str, typer.Argument(help="Its name and id: a-z, 0-9, - and _, at most 63 characters.")],
    display_name: Annotated[str, typer.Option("--display-name", help="What people call it.")] = "",
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Create a tenant."""
    with opened() as session:
        created = session.ask(CreateTenant, name=name, display_name=display_name, reason=reason)
    if as_json:
        print_json({"tenant": {**created._asdict(), "display_name": display_name}})
    else:
        console().print(f"created tenant [bold]{created.name}[/]")


@_group.command("list")
def list_tenants(as_json: options.Json = False) -> None:
    """List all tenants, with their limits."""
    with opened() as session:
        rows = session.ask(ListTenants)
        limits = session.ask(ListLimits, scope=Scope.TENANT)
    states = {row.target.tenant: row.state for row in limits}
    if as_json:
        print_json({"tenants": [shapes.tenant(row, states.get(row.name, FlowState())) for row in rows]})
    elif not rows:
        console().print("no tenants yet; create one with: jobledger tenants create NAME")
    else:
        lines = [_line(row, states.get(row.name, FlowState())) for row in rows]
        console().print(table("tenant", "status", "limits", "name", rows=lines))


@_group.command()
def suspend(*, name: Name, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Take and run no jobs for a tenant: dispatches are refused, and jobs that wait go to the dead-letter queue.

    For a customer who is to be served no more. To only hold jobs back for a while: jobledger tenants pause.
    """
    with opened() as session:
        changed = session.ask(SuspendTenant, name=name, reason=reason)
    _print_changed(changed, as_json=as_json)


@_group.command()
def resume(*, name: Name, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Serve a suspended tenant again. Its jobs in the dead-letter queue stay there: jobledger dlq requeue."""
    with opened() as session:
        changed = session.ask(ResumeTenant, name=name, reason=reason)
    _print_changed(changed, as_json=as_json)


@_group.command()
def pause(*, name: Name, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Start nothing for a tenant until it is unpaused: jobs are still taken and wait; those that run go on.

    For a while in which nothing may happen, as during a migration. Nothing is refused or lost, unlike with
    jobledger tenants suspend.
    """
    with opened() as session:
        changed = session.ask(PauseTarget, tenant=name, reason=reason)
    print_target(changed, as_json=as_json)


@_group.command()
def unpause(*, name: Name, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Start jobs of a paused tenant again; those that waited start at once. (A suspended one is resumed.)"""
    with opened() as session:
        changed = session.ask(ResumeTarget, tenant=name, reason=reason)
    print_target(changed, as_json=as_json)


def _print_changed(changed: TenantChanged, *, as_json: bool) -> None:
    if as_json:
        print_json({"tenant": changed._asdict()})
    else:
        console().print(Text.assemble("tenant ", (changed.name, "bold"), ": ", status_text(changed.status)))


def _line(row: TenantRow, state: FlowState) -> tuple[str | Text, ...]:
    status = status_text(row.status.value)
    if state.paused:
        status.append(", paused", style=PAUSED_STYLE)
    return row.name, status, "-" if state.limits.is_default else str(state.limits), row.display_name
