"""`jobledger check`: is the ledger well, and do an application's job types conform (R4.14)?"""

from __future__ import annotations

import typer

from jobledger.domain.errors import LedgerUnavailable

from . import options


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(check)


def check(app: options.App = None, as_json: options.Json = False) -> None:
    """Check the ledger; with --app, also that its job types conform. Exit code 1 on a violation."""
    raise LedgerUnavailable(f"not wired yet ({app=} {as_json=})")
