"""The command `jobledger`: finds the command's module, runs it, turns errors into a few lines and an exit code."""

from __future__ import annotations

import errno
import gc
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module

import typer

from jobledger.domain.errors import JobledgerError

from . import errors
from .exit_codes import ExitCode
from .streams import fill_closed, forget_stdout, stdout_not_written

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}

COMMANDS: tuple[str, ...] = (
    "up", "work", "serve", "dispatch", "jobs", "dlq", "queues", "stats", "limits", "tenants", "keys", "types",
    "workers", "migrate", "audit", "projections", "check", "openapi", "version",
)  # fmt: skip
"""Each is a module of this package with a function `register(app)`."""


def build(*names: str) -> typer.Typer:
    """The typer application with these commands (none given: all). One alone keeps the start quick."""
    app = typer.Typer(
        name="jobledger", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
        rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    app.callback()(_jobledger)
    for name in names or COMMANDS:
        register: Callable[[typer.Typer], None] = import_module(f".{name}", __package__).register
        register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code (`ExitCode`)."""
    fill_closed()
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run the command line; returns its exit code."""
    wanted = [name for name in arguments[:1] if name in COMMANDS]
    json_wanted = "--json" in arguments
    try:
        answer = _loaded(*wanted)(arguments, standalone_mode=False, prog_name="jobledger")
        sys.stdout.flush()  # here, where it can still be said that nobody reads
    except JobledgerError as error:
        errors.show(error, json_wanted=json_wanted)
        return errors.exit_code(error)
    except typer.TyperException as error:
        errors.show_usage(error, json_wanted=json_wanted)
        return ExitCode.USAGE
    except (typer.Abort, KeyboardInterrupt):  # the latter while a command's module is being imported
        return ExitCode.INTERRUPTED
    except (SystemExit, OSError) as error:
        return _not_said(error, json_wanted=json_wanted)
    except Exception:  # noqa: BLE001 - a mistake of ours: all that is known of it, and a code of its own
        traceback.print_exc()
        return ExitCode.UNEXPECTED
    return answer if isinstance(answer, int) else ExitCode.OK


def _not_said(error: SystemExit | OSError, *, json_wanted: bool) -> int:
    """Where the answer could not be written: who has read enough of it wants to hear no more; a full disk is told."""
    cause = error.__context__ if isinstance(error, SystemExit) else error  # typer makes it an exit, click before it too
    if isinstance(cause, BrokenPipeError):
        forget_stdout()
        return ExitCode.OK
    if isinstance(cause, OSError) and cause.errno in _FULL:
        forget_stdout()
        errors.show(stdout_not_written(cause), json_wanted=json_wanted)
        return ExitCode.REFUSED
    traceback.print_exception(error)
    return ExitCode.UNEXPECTED


def _loaded(*names: str) -> typer.Typer:
    """`build`, without looking for garbage: there is none yet, and looking took a third of a short command's time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return build(*names)
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def _jobledger() -> None:
    """Background jobs whose history is an append-only ledger.

    Settings are JOBLEDGER_* variables; JOBLEDGER_DATABASE says where the ledger is. Exit codes: 0 done, 1 refused,
    2 usage or setting, 3 no ledger or another schema, 4 ledger unavailable.
    """
