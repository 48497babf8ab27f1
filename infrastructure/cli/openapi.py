"""`jobledger openapi`: the document of the HTTP API, without a server."""

from __future__ import annotations

import typer

from .beside import require_server
from .json_output import print_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(openapi)


def openapi() -> None:
    """Print the OpenAPI document of the HTTP API: what a server shows at `/v1/openapi.json`."""
    require_server()
    from ..api_document import api_document  # noqa: PLC0415 - only where it is installed

    print_json(api_document())
