"""The conformance report of R4.14 on the command line, and the gate that it is for workers."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from jobledger.application.app import App
from jobledger.application.conformance import Line, TypeReport, require_conformance
from jobledger.domain.errors import NonConformingType

from ..settings import Settings

_log = structlog.get_logger("jobledger")


def require_conforming(app: App, settings: Settings) -> None:
    """Raise NonConformingType for a program with a violating job type; in development only warn."""
    try:
        require_conformance(app)
    except NonConformingType as error:
        if settings.env != "development":
            raise
        _log.warning("conformance.violated", app=app.name, message=error.message)


def report_shape(report: TypeReport) -> dict[str, object]:
    """The stable shape of a job type's report."""
    checks = [
        {"check": line.check.value, "conforms": line.conforms, "finding": line.finding, "violations": line.violations}
        for line in report.lines
    ]
    return {"type": report.job_type, "conforms": report.conforms, "checks": checks}


def print_reports(out: Console, app: App, reports: Sequence[TypeReport]) -> None:
    """Nine lines a job type, what violates below its line, and a sum."""
    for report in reports:
        out.print(f"[bold]{report.job_type}[/]")
        for line in report.lines:
            _print_line(out, line)
    violating = [report.job_type for report in reports if not report.conforms]
    if violating:
        out.print(
            f"\n[red]{len(violating)} of {len(reports)} job types of {escape(app.name)} may not go to production[/]"
        )
    else:
        what = "the job type" if len(reports) == 1 else f"all {len(reports)} job types"
        out.print(f"\n[green]{what} of {escape(app.name)} may go to production[/]")


def _print_line(out: Console, line: Line) -> None:
    mark = Text("  ok    ", style="green") if line.conforms else Text("  FAIL  ", style="bold red")
    out.print(mark.append(f"{line.check.value:<16}", style="default").append(line.finding, style="dim"))
    for violation in line.violations:
        out.print(Padding(Text(violation, style="red"), (0, 0, 0, 24), expand=False))
