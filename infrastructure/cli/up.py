"""`jobledger up`: everything in one process."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options
from .beside import Host, Port
from .serving import Request, serve
from .work import Concurrency, Drain, MetricsPort, Queues, Wait

Http = Annotated[
    bool | None,
    typer.Option(
        "--http/--no-http", help="Whether to serve the HTTP API and the console. Default: yes, but not with --drain.",
        show_default=False,
    ),
]  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(up)


def up(
    *,
    app: options.App = None,
    queue: Queues = None,
    concurrency: Concurrency = None,
    drain: Drain = False,
    drain_wait: Wait = 0.0,
    host: Host = None,
    port: Port = None,
    http: Http = None,
    metrics_port: MetricsPort = None,
    as_json: options.Json = False,
) -> None:
    """Run everything in one process: worker, projections, maintenance, HTTP API and console. Creates or migrates the
    ledger first. On a loopback address it shows a link that opens the console, once."""
    serve(
        Request(
            command="up", app=app, queues=tuple(queue or ()), concurrency=concurrency, drain=drain,
            drain_wait_seconds=drain_wait, projections=True, create=True, as_json=as_json,
            metrics_port=metrics_port, http=not drain or host is not None or port is not None if http is None else http,
            host=host, port=port,
        )
    )  # fmt: skip
