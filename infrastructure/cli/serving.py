"""What `up` and `work` have in common: a service that runs until it is told to stop."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from types import FrameType
from typing import NamedTuple

import structlog
import typer
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from jobledger.application.app import App
from jobledger.application.worker import RunResult, WorkerEventName, WorkerOptions
from jobledger.domain.limit import Rate

from ..bootstrap import LedgerHandle, open_ledger
from ..metrics import serving_metrics
from ..service import Service, tune_garbage_collector, worker_options
from ..settings import Settings
from ..shapes.texts import duration_text
from ..telemetry import configure_logging
from .app_loader import load_app
from .beside import serving_beside, show_console
from .conformance import require_conforming
from .exit_codes import ExitCode
from .json_output import print_json
from .output import console
from .session import load_settings

_EXIT_CODES = {RunResult.RECYCLE: ExitCode.RECYCLE, RunResult.FAILED: ExitCode.UNAVAILABLE}
_COUNTED = {
    "completed": WorkerEventName.PROCESSED, "failed": WorkerEventName.ERRORED, "snoozed": WorkerEventName.SNOOZED,
    "cancelled": WorkerEventName.CANCELLED, "given_back": WorkerEventName.INTERRUPTED,
    "lease_lost": WorkerEventName.LEASE_LOST,
}  # fmt: skip

_log = structlog.get_logger("jobledger")


class Request(NamedTuple):
    """What the command line asked for; None and empty leave it to the settings."""

    command: str
    app: str | None
    queues: tuple[str, ...]
    concurrency: int | None
    drain: bool
    drain_wait_seconds: float
    projections: bool
    create: bool
    as_json: bool
    metrics_port: int | None = None
    tenants: tuple[str, ...] = ()
    personas: tuple[str, ...] = ()
    rate: Rate | None = None
    http: bool = False
    host: str | None = None
    port: int | None = None


def serve(request: Request) -> None:
    """Run until stopped or drained; the exit code says how it ended."""
    settings = load_settings(metrics_port=request.metrics_port, http_host=request.host, http_port=request.port)
    configure_logging(level=settings.log_level, form=settings.log_format)
    app = load_app(request.app, settings)
    require_conforming(app, settings)
    options = worker_options(
        settings, app, queues=request.queues, concurrency=request.concurrency, tenants=request.tenants,
        personas=request.personas, rate=request.rate, drain=request.drain,
        drain_wait_seconds=request.drain_wait_seconds,
    )  # fmt: skip
    with closing(open_ledger(settings, create=request.create, app=app)) as handle:
        service = Service(handle, app, options, projections=request.projections)
        tune_garbage_collector()
        began = time.monotonic()
        with ExitStack() as running:
            running.enter_context(_stopped_by_signals(service, settings))
            running.enter_context(serving_metrics(handle, service, settings))
            server = running.enter_context(serving_beside(handle, settings)) if request.http else None
            _announce(
                request, settings, app, service, server.url if server else None
            )  # who reads this may send signals
            if server is not None:
                show_console(server, handle, as_json=request.as_json)
            _warn_of_unknown(handle, options)
            result = service.run()
        _conclude(service, result, time.monotonic() - began, as_json=request.as_json)
    if result in _EXIT_CODES:
        raise typer.Exit(_EXIT_CODES[result])


@contextmanager
def _stopped_by_signals(service: Service, settings: Settings) -> Iterator[None]:
    """The first SIGTERM or SIGINT ends gracefully, the second gives everything back at once, the third just ends.

    SIGHUP counts like these (the terminal was closed), unless it is ignored, as `nohup` does."""
    received = 0

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received == 1:
            service.request_stop()
            grace = duration_text(settings.shutdown_grace_seconds)
            _say(f"{signal.Signals(number).name}: taking no more jobs; those that run have {grace}. Again: at once.")
        elif received == 2:
            service.request_stop_now()
            _say("giving everything back")
        else:
            os._exit(ExitCode.INTERRUPTED)

    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    """From a signal handler: no lock may be taken that the interrupted code may hold. Nor may anything be raised, into
    whatever was interrupted: who read stderr may be gone."""
    with suppress(Exception):
        os.write(sys.stderr.fileno(), f"{text}\n".encode())


def _announce(request: Request, settings: Settings, app: App, service: Service, url: str | None) -> None:
    """Say what runs; who reads this may send signals from now on."""
    options = service.worker.options
    if request.as_json or not sys.stdout.isatty():
        _log.info(
            f"{request.command}.started", database=str(settings.database), app=app.name, code_version=app.code_version,
            worker=service.worker.name, queues=list(options.queues), concurrency=options.concurrency,
            tenants=list(options.tenants or ()), personas=list(options.personas or ()),
            rate=str(options.rate) if options.rate else None, url=url,
        )  # fmt: skip
        return
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("database", escape(str(settings.database)))
    grid.add_row("app", escape(f"{app.name} ({len(app.jobs)} job types, code {app.code_version})"))
    grid.add_row("queues", ", ".join(options.queues))
    if options.tenants:
        grid.add_row("only for", _only_for(options))
    grid.add_row("worker", f"{service.worker.name}, {options.concurrency} jobs at a time{_at_most(options)}")
    grid.add_row("runs", "worker, projections, maintenance" if request.projections else "worker, maintenance")
    if url is not None:
        grid.add_row("console", f"{url}/")
        grid.add_row("HTTP API", f"{url}/v1/openapi.json")
    grid.add_row("stop", "when nothing is left" if request.drain else "Ctrl-C (running jobs finish or are given back)")
    title = f"[bold]jobledger {request.command}[/]"
    console().print(Panel(grid, title=title, title_align="left", expand=False, padding=(1, 2)))


def _only_for(options: WorkerOptions) -> str:
    personas = f": {', '.join(options.personas)}" if options.personas else ""
    return f"{', '.join(options.tenants or ())}{personas}"


def _at_most(options: WorkerOptions) -> str:
    return f", {options.rate} at most" if options.rate else ""


def _warn_of_unknown(handle: LedgerHandle, options: WorkerOptions) -> None:
    """A worker for a tenant that does not exist (yet) runs nothing: say so, it may be a slip."""
    for tenant in options.tenants or ():
        if handle.ports.catalogue.tenant(tenant) is None:
            _log.warning("work.unknown_tenant", tenant=tenant, hint="jobledger tenants list shows all")


def _conclude(service: Service, result: RunResult, seconds: float, *, as_json: bool) -> None:
    counts = {name: service.counts[event] for name, event in _COUNTED.items()}
    if as_json:
        print_json({"result": result.value, **counts, "seconds": round(seconds, 3)})
        return
    told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count) or "no jobs"
    console().print(f"{result.value} after {duration_text(seconds)}: {told}")
