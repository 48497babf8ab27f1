"""`jobledger version`."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed_version

import typer

from . import options
from .json_output import print_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(version)


def version(as_json: options.Json = False) -> None:
    """Say which version this is."""
    jobledger, python = installed_version("jobledger"), platform.python_version()
    if as_json:
        print_json({"jobledger": jobledger, "python": python})
    else:
        typer.echo(f"jobledger {jobledger} (Python {python})")
