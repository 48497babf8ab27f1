"""`jobledger work`: one more worker."""

from __future__ import annotations

from typing import Annotated

import typer

from jobledger.domain.limit import Rate

from . import options
from .serving import Request, serve

Queues = Annotated[
    list[str] | None,
    typer.Option("--queue", "-q", help="Take jobs from this queue only; repeatable. Default: those of the app's types.",
                 show_default=False),
]  # fmt: skip
Concurrency = Annotated[
    int | None, typer.Option("--concurrency", "-c", min=1, max=1_000, help="Jobs at the same time.", show_default=False)
]
Tenants = Annotated[
    list[str] | None,
    typer.Option("--tenant", "-t", help="Run jobs of this tenant only; repeatable. Default: of all.",
                 show_default=False),
]  # fmt: skip
Personas = Annotated[
    list[str] | None,
    typer.Option("--persona", "-p", help="Run jobs for this persona of --tenant only; repeatable.", show_default=False),
]
RateText = Annotated[
    str | None,
    typer.Option("--rate", help="Begin no more jobs here than this: 50/1s, 1000/1h.", show_default=False),
]
Drain = Annotated[bool, typer.Option("--drain", help="End when nothing is ready and nothing runs here.")]
Wait = Annotated[
    float, typer.Option("--drain-wait", min=0, help="With --drain: also wait for jobs due within so many seconds.")
]
MetricsPort = Annotated[
    int | None,
    typer.Option("--metrics-port", min=0, max=65_535, show_default=False,
                 help="Serve /metrics, /livez and /readyz on this port. Default: JOBLEDGER_METRICS_PORT."),
]  # fmt: skip
WithoutProjections = Annotated[bool, typer.Option("--without-projections", help="Leave the lists to other processes.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(work)


def work(
    *,
    app: options.App = None,
    queue: Queues = None,
    concurrency: Concurrency = None,
    tenant: Tenants = None,
    persona: Personas = None,
    rate: RateText = None,
    drain: Drain = False,
    drain_wait: Wait = 0.0,
    metrics_port: MetricsPort = None,
    without_projections: WithoutProjections = False,
    as_json: options.Json = False,
) -> None:
    """Run jobs until stopped (Ctrl-C or SIGTERM: running jobs finish or are given back; again: at once)."""
    serve(
        Request(
            command="work", app=app, queues=tuple(queue or ()), concurrency=concurrency,
            tenants=tuple(tenant or ()), personas=tuple(persona or ()),
            rate=None if rate is None else Rate.parse(rate), drain=drain,
            drain_wait_seconds=drain_wait, projections=not without_projections, create=False, as_json=as_json,
            metrics_port=metrics_port,
        )
    )  # fmt: skip
