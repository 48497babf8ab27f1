"""How errors look on the command line: what happened, which field and rule, what to run next. No tracebacks."""

from __future__ import annotations

import typer

from jobledger.domain.errors import (
    InvalidSettings,
    JobledgerError,
    LedgerError,
    LedgerNotFound,
    MigrationFailed,
    SchemaOutdated,
    SchemaTooNew,
)

from .exit_codes import ExitCode
from .json_output import print_error_json

_NO_LEDGER = (LedgerNotFound, SchemaTooNew, SchemaOutdated, MigrationFailed)


def exit_code(error: BaseException) -> ExitCode:
    """The exit code that tells of an error."""
    if isinstance(error, InvalidSettings | typer.TyperException):
        return ExitCode.USAGE
    if isinstance(error, _NO_LEDGER):
        return ExitCode.NO_LEDGER
    if isinstance(error, LedgerError):
        return ExitCode.UNAVAILABLE
    return ExitCode.REFUSED if isinstance(error, JobledgerError) else ExitCode.UNEXPECTED


def as_json(error: JobledgerError) -> dict[str, str | None]:
    """The stable shape of an error: `code`, `message`, `field`, `rule`, `hint`."""
    return {
        "code": error.code, "message": error.message, "field": error.field, "rule": error.rule, "hint": error.hint,
    }  # fmt: skip


def show(error: JobledgerError, *, json_wanted: bool) -> None:
    """Print an error to stderr: as one JSON object, or as a few short lines."""
    if json_wanted:
        print_error_json({"error": as_json(error)})
        return
    from .output import error_console  # noqa: PLC0415 - rich only when there is something to show

    console = error_console()
    where = f"[bold]{_escape(error.field)}[/]: " if error.field else ""
    console.print(f"[bold red]error:[/] {where}{_escape(error.message)}")
    if error.rule and error.rule.lower() not in error.message.lower():
        console.print(f"  [dim]rule[/]  {_escape(error.rule)}")
    if error.hint:
        console.print(f"  [dim]next[/]  {_escape(error.hint)}")


def show_usage(error: typer.TyperException, *, json_wanted: bool) -> None:
    """Print what is wrong with the command line; without words, the help has been printed already."""
    if not error.format_message():
        return
    if json_wanted:
        hint = _help_hint(error)
        print_error_json(
            {"error": {"code": "usage", "message": error.format_message(), "field": None, "rule": None, "hint": hint}}
        )
        return
    from .output import error_console  # noqa: PLC0415 - rich only when there is something to show

    console = error_console()
    console.print(f"[bold red]error:[/] {_escape(error.format_message())}")
    if hint := _help_hint(error):
        console.print(f"  [dim]next[/]  {_escape(hint)}")


def _help_hint(error: typer.TyperException) -> str | None:
    path = getattr(getattr(error, "ctx", None), "command_path", None)
    return f"{path} --help" if path else None


def _escape(text: str) -> str:
    from rich.markup import escape  # noqa: PLC0415

    return escape(text)
