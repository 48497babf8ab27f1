"""`jobledger migrate`: create the ledger, or bring its schema up to date."""

from __future__ import annotations

from typing import Annotated

import typer

from ..bootstrap import migrate as apply_migrations
from ..bootstrap import open_ledger
from . import options
from .json_output import print_json
from .session import configure_quiet_logging, load_settings

Check = Annotated[bool, typer.Option("--check", help="Change nothing; fail unless ledger and schema are in order.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(migrate)


def migrate(check: Check = False, as_json: options.Json = False) -> None:
    """Create the ledger, or bring its schema up to date. A migration that fails leaves it unchanged."""
    settings = load_settings()
    configure_quiet_logging(settings)
    if check:
        open_ledger(settings).close()
        applied: list[str] = []
    else:
        applied = list(apply_migrations(settings))
    if as_json:
        print_json({"database": str(settings.database), "applied": applied, "current": True})
        return
    for name in applied:
        typer.echo(f"applied {name}")
    typer.echo(f"{settings.database}: the schema is up to date")
