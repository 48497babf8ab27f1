"""What the exit code of `jobledger` says. These numbers are an interface: scripts and health checks depend on them."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Every exit code; `MEANING` says what each is for."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    NO_LEDGER = 3
    UNAVAILABLE = 4
    UNEXPECTED = 70
    RECYCLE = 75
    INTERRUPTED = 130


MEANING: dict[ExitCode, str] = {
    ExitCode.OK: "Done.",
    ExitCode.REFUSED: "Refused, not found, or `check` found something: the command was understood, the answer is no. "
    "In a batch: at least one item was refused (the others are done).",
    ExitCode.USAGE: "The command line or a setting is wrong; nothing was tried.",
    ExitCode.NO_LEDGER: "There is no ledger there, or its schema does not fit this version.",
    ExitCode.UNAVAILABLE: "The ledger does not answer, is full, busy or was restored; trying again later may help.",
    ExitCode.UNEXPECTED: "An error of jobledger itself, with a traceback.",
    ExitCode.RECYCLE: "Too many handlers ignored their hard timeout: start the worker again.",
    ExitCode.INTERRUPTED: "Interrupted (Ctrl-C).",
}
