"""`jobledger up`: everything in one process."""

from __future__ import annotations

import typer

from . import options
from .serving import Request, serve
from .work import Concurrency, Drain, MetricsPort, Queues, Wait


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
    metrics_port: MetricsPort = None,
    as_json: options.Json = False,
) -> None:
    """Run everything in one process: worker, projections and maintenance. Creates or migrates the ledger first."""
    serve(
        Request(
            command="up", app=app, queues=tuple(queue or ()), concurrency=concurrency, drain=drain,
            drain_wait_seconds=drain_wait, projections=True, create=True, as_json=as_json,
            metrics_port=metrics_port,
        )
    )  # fmt: skip
