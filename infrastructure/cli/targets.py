"""What limits and pauses are about, on the command line: how a target is named, shown, and told of after a change."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from jobledger.application.limit_messages import TargetChanged
from jobledger.domain.errors import InvalidInput
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.limit import FlowState, Scope, Target

from ..shapes import jobs as shapes
from .json_output import print_json
from .output import console
from .session import Session

Queue = Annotated[str | None, typer.Option("--queue", "-q", help="The queue, of all tenants.", show_default=False)]
Tenant = Annotated[str | None, typer.Option("--tenant", "-t", help="The tenant.", show_default=False)]
Persona = Annotated[
    str | None, typer.Option("--persona", "-p", help="A persona of --tenant (or of JOBLEDGER_TENANT).",
                             show_default=False)
]  # fmt: skip
Key = Annotated[
    str | None,
    typer.Option("--key", "-k", help="A limit key of --tenant's jobs; 'gateway:*' is each key that begins so.",
                 show_default=False),
]  # fmt: skip

PAUSED_STYLE = "bold yellow"


def named(
    session: Session, *, queue: str | None, tenant: str | None, persona: str | None, key: str | None
) -> dict[str, str | None]:
    """The fields that name a target. A tenant alone is named on the command line: a limit of everything a tenant has
    must not come from a variable and a forgotten option."""
    if queue is None and tenant is None and persona is None and key is None:
        raise InvalidInput(
            "what is it about?", field="--queue, --tenant", rule="one target is named",
            hint="--queue NAME, --tenant NAME, --tenant NAME --persona NAME, or --tenant NAME --key KEY",
        )  # fmt: skip
    if tenant is None and queue is None:
        tenant = session.tenant(None)
    return {"queue": queue, "tenant": tenant, "persona": persona, "key": key}


def target_text(target: Target) -> str:
    """`queue billing`, `tenant acme`, `persona billing-bot of acme`."""
    of = f" of {target.tenant}" if target.scope in (Scope.PERSONA, Scope.KEY) else ""
    return f"{target.scope} {target.subject}{of}"


def state_text(state: FlowState) -> Text:
    """The limits, and whether it is paused."""
    text = Text(str(state.limits))
    return text.append(", paused", style=PAUSED_STYLE) if state.paused else text


def owner(target: Target) -> str:
    """The tenant of a target; `-` for a queue, which is everybody's."""
    return "-" if target.tenant == SYSTEM_TENANT else target.tenant


def print_target(changed: TargetChanged, *, as_json: bool) -> None:
    """What a command made of a target."""
    if as_json:
        print_json(shapes.target_changed(changed))
        return
    out = console()
    so = "" if changed.changed else " (it was so already: nothing is recorded)"
    line = Text.assemble((target_text(changed.target), "bold"), ": ", state_text(changed.state), so)
    out.print(line, soft_wrap=True)
    if changed.remark:
        out.print(f"[yellow]note:[/] {escape(changed.remark)}", soft_wrap=True)
