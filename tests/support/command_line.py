"""Checks a command line against the real CLI without running it."""

from __future__ import annotations

from collections.abc import Sequence

import typer.main


def parse(app: typer.Typer, words: Sequence[str]) -> dict[str, object]:
    """The parameters that `jobledger WORDS...` would run with.

    Raises KeyError for a command that does not exist, and the parser's usage error for an option that does not.
    """
    command = typer.main.get_command(app)
    rest = list(words)
    while commands := getattr(command, "commands", None):
        command = commands[rest.pop(0)]
    return dict(command.make_context("jobledger", rest).params)
