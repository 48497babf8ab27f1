"""`jobledger serve`: the HTTP API, until it is told to stop."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Annotated

import structlog
import typer
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from jobledger.application.maintenance import Maintenance
from jobledger.projections.runner import Runner

from ..bootstrap import LedgerHandle, open_ledger
from ..identities import ensure_admin_key
from ..metrics import serving_server_metrics
from ..projecting import Hurrying, make_runner
from ..service import make_maintenance
from ..settings import Settings
from ..telemetry import configure_logging
from . import options
from .beside import Host, Port, require_server, show_first_key
from .exit_codes import ExitCode
from .output import console
from .session import load_settings
from .work import MetricsPort

_LOOK_SECONDS = 1.0

_log = structlog.get_logger("jobledger")

Uds = Annotated[
    Path | None,
    typer.Option("--uds", help="A Unix socket; alone, unless --host or --port is given.", show_default=False),
]
Projections = Annotated[bool, typer.Option(help="Whether this process keeps the lists up to date, too.")]
Maintained = Annotated[
    bool | None,
    typer.Option(
        "--maintenance/--no-maintenance",
        help="Whether this process rescues stalled jobs, too [default: with projections].",
        show_default=False,
    ),
]
Create = Annotated[bool, typer.Option("--create", help="Create or migrate the ledger first.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    *, host: Host = None, port: Port = None, uds: Uds = None, projections: Projections = True,
    maintenance: Maintained = None, metrics_port: MetricsPort = None, create: Create = False,
    as_json: options.Json = False,
) -> None:  # fmt: skip
    """Serve the HTTP API (and the console), until Ctrl-C. Jobs are run by `jobledger work`, or by workers over HTTP."""
    settings = load_settings(http_host=host, http_port=port, metrics_port=metrics_port)
    require_server()
    from ..web import Place, serving  # noqa: PLC0415 - only where it is installed

    configure_logging(level=settings.log_level, form=settings.log_format)
    only_socket = uds is not None and host is None and port is None
    place = Place(None if only_socket else settings.http_host, settings.http_port, uds)
    maintained = projections if maintenance is None else maintenance
    with (
        closing(open_ledger(settings, create=create)) as handle,
        _read_models(handle, wanted=projections) as runner,
        _maintenance(handle, wanted=maintained) as maintaining,
    ):
        first_key = ensure_admin_key(handle)
        beside = {"projections": runner, "maintenance": maintaining}
        with (
            _stopped_by_signals() as stopped, serving(handle, place) as server,
            serving_server_metrics(handle, server, settings, beside),
        ):  # fmt: skip
            announce(settings, server.url, uds, as_json=as_json)
            show_first_key(first_key)
            while not stopped.wait(_LOOK_SECONDS):
                if server.has_died:
                    raise typer.Exit(ExitCode.UNAVAILABLE)


def announce(settings: Settings, url: str | None, uds: Path | None, *, as_json: bool) -> None:
    """Say where the API is: for people in a panel, else as a log event."""
    if as_json or not sys.stdout.isatty():
        _log.info("serve.started", database=str(settings.database), url=url, uds=None if uds is None else str(uds))
        return
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("database", escape(str(settings.database)))
    if url is not None:
        grid.add_row("console", f"{url}/")
        grid.add_row("HTTP API", f"{url}/v1/openapi.json")
    if uds is not None:
        grid.add_row("socket", escape(str(uds)))
    grid.add_row("stop", "Ctrl-C (requests under way are finished)")
    console().print(Panel(grid, title="[bold]jobledger serve[/]", title_align="left", expand=False, padding=(1, 2)))


@contextmanager
def _read_models(handle: LedgerHandle, *, wanted: bool) -> Iterator[Runner | None]:
    if not wanted:
        yield None
        return
    runner = make_runner(handle)
    runner.start()
    hurrying = Hurrying(handle, runner)
    try:
        yield runner
    finally:
        hurrying.stop()
        runner.stop()


@contextmanager
def _maintenance(handle: LedgerHandle, *, wanted: bool) -> Iterator[Maintenance | None]:
    """Where all workers are remote, nobody else rescues what they leave behind."""
    if not wanted:
        yield None
        return
    maintenance = make_maintenance(handle, actor="service:serve")
    maintenance.start()
    try:
        yield maintenance
    finally:
        maintenance.stop()


@contextmanager
def _stopped_by_signals() -> Iterator[Event]:
    stopped = Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
