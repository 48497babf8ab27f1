"""Standard streams as they come: closed by who started the program, or by who has read enough of them."""

from __future__ import annotations

import os
import sys

from jobledger.domain.errors import InvalidInput

_closed: set[int] = set()
"""Numbers of standard streams that were closed when the program began."""


def fill_closed() -> None:
    """Put nothing in the place of standard streams that are closed: else the next file that is opened takes their
    number, and what is meant for a screen is written into a ledger."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)  # takes the lowest number that is free
            _closed.add(number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8"))


def require_stdout() -> None:
    """Refuse to hand something out that nobody can receive."""
    if 1 in _closed:
        raise InvalidInput(
            "stdout is closed", field="--output", rule="is a file where there is no stdout",
            hint="add: --output FILE",
        )  # fmt: skip


def stdout_not_written(error: OSError) -> InvalidInput:
    """What is said where stdout takes no more."""
    return InvalidInput(
        f"the answer was not written: {error.strerror or error}", field="stdout", rule="can be written",
        hint="make room, or send it elsewhere",
    )  # fmt: skip


def forget_stdout() -> None:
    """What is still buffered cannot be written either: the interpreter shall not try, and complain, when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
