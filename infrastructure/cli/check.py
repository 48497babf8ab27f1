"""`jobledger check`: is the ledger well, and do a program's job types conform (R4.14)?"""

from __future__ import annotations

from typing import NamedTuple

import typer
from rich.console import Console
from rich.text import Text

from jobledger.application.conformance import check_app
from jobledger.application.queries import ListJobTypes, ListTenants
from jobledger.projections.catalogue import ALL_PROJECTIONS

from . import options
from .app_loader import load_app
from .conformance import print_reports, report_shape
from .exit_codes import ExitCode
from .json_output import print_json
from .output import console, table
from .parked import counts_text
from .session import Session, configure_quiet_logging, load_settings, opened


class ProjectionHealth(NamedTuple):
    """How far a read model is behind, whether its rows were written by this version of it, and how many events it could
    not take (`parked`) or holds back behind those (`waiting`)."""

    name: str
    position: int
    lag_positions: int
    current_version: bool
    parked: int = 0
    waiting: int = 0
    newer_version: bool = False
    """Its rows were written by a later release."""

    @property
    def healthy(self) -> bool:
        """A lag is normal; rows of another version have to be rebuilt, parked events retried or skipped."""
        return self.current_version and not self.parked and not self.waiting


class Health(NamedTuple):
    """The state of a ledger that answers."""

    database: str
    incarnation: str
    head: int
    tenants: int
    job_types: int
    projections: tuple[ProjectionHealth, ...]

    @property
    def healthy(self) -> bool:
        """Whether every read model is."""
        return all(projection.healthy for projection in self.projections)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(check)


def check(*, app: options.App = None, as_json: options.Json = False) -> None:
    """Check that the ledger is well; with --app, that the program's job types conform. Exit code 1 where not."""
    fine = _check_app(app, as_json=as_json) if app is not None else _check_ledger(as_json=as_json)
    if not fine:
        raise typer.Exit(ExitCode.REFUSED)


def _check_app(reference: str, *, as_json: bool) -> bool:
    settings = load_settings()
    configure_quiet_logging(settings)
    program = load_app(reference, settings)
    reports = check_app(program)
    if as_json:
        print_json({"app": program.name, "types": [report_shape(report) for report in reports]})
    else:
        print_reports(console(), program, reports)
    return all(report.conforms for report in reports)


def _check_ledger(*, as_json: bool) -> bool:
    with opened() as session:
        health = _health(session)
    if as_json:
        print_json(_health_shape(health))
    else:
        _print_health(console(), health)
    return health.healthy


def _health(session: Session) -> Health:
    handle = session.handle
    head = handle.event_source.head()
    checkpoints, parked = handle.view_store.checkpoints(), handle.view_store.parked_counts()
    projections = []
    for projection in ALL_PROJECTIONS:
        stored = checkpoints.get(projection.name)
        position = 0 if stored is None else stored.position
        current = stored is None or stored.version == projection.version
        failed, waiting = parked.get(projection.name, (0, 0))
        projections.append(
            ProjectionHealth(
                projection.name,
                position,
                max(0, head - position),
                current,
                failed,
                waiting,
                newer_version=stored is not None and stored.version > projection.version,
            )
        )
    return Health(
        str(session.settings.database), handle.ports.reader.incarnation(), head, len(session.ask(ListTenants)),
        len(session.ask(ListJobTypes)), tuple(projections),
    )  # fmt: skip


def _health_shape(health: Health) -> dict[str, object]:
    shape: dict[str, object] = {**health._asdict(), "healthy": health.healthy}
    shape["projections"] = [projection._asdict() for projection in health.projections]
    return shape


def _print_health(out: Console, health: Health) -> None:
    out.print(Text(health.database, "bold"), "answers", soft_wrap=True)
    out.print(f"{health.tenants} tenants, {health.job_types} job types, head at {health.incarnation}.{health.head}")
    rows = [
        (
            projection.name,
            str(projection.position),
            str(projection.lag_positions),
            _state(projection),
        )
        for projection in health.projections
    ]
    out.print(table("read model", ("position", "right"), ("behind", "right"), "state", rows=rows))
    if any(projection.parked or projection.waiting for projection in health.projections):
        out.print(Text.assemble(("what could not be taken, and why: ", "dim"), "jobledger projections parked"))


def _state(projection: ProjectionHealth) -> Text:
    if projection.newer_version:
        return Text("rows of a later release: upgrade jobledger", "red")
    if not projection.current_version:
        return Text(f"rows of another version: jobledger projections rebuild {projection.name}", "red")
    if projection.parked or projection.waiting:
        return Text(counts_text(projection.parked, projection.waiting), "red")
    return Text("fine", "green")
