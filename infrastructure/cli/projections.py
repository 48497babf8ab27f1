"""`jobledger projections`: how views stand, and how they are rebuilt and verified while everybody goes on."""

from __future__ import annotations

from typing import Annotated

import typer

from jobledger.application.queries import GetJob
from jobledger.domain.errors import InvalidInput, NotFound
from jobledger.projections.catalogue import PROJECTIONS
from jobledger.projections.open_jobs import NAME as WORK_QUEUE
from jobledger.projections.pacing import QUARTER
from jobledger.projections.projection import Projection, is_view_name
from jobledger.projections.shadow import Purpose, Scope

from .. import rebuilding
from ..rebuilding import Request
from ..shapes import projections as shapes
from ..view_standing import overview
from . import options, parked, queue_rebuild, rebuild_output, rebuild_progress, view_status
from .exit_codes import ExitCode
from .json_output import print_json
from .output import console, error_console
from .session import Session, job_reference, opened

group = typer.Typer(
    help="Views (read models) of the ledger: how far they are, and how they are compared with it and made anew while "
    "they are read and written.",
    no_args_is_help=True,
)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The view, as `projections status` names it.", show_default=False)
]
Tenant = Annotated[str | None, typer.Option("--tenant", "-t", help="Only this tenant's rows.", show_default=False)]
Job = Annotated[
    str | None,
    typer.Option("--job", help="Only this job's row: its id, or its last eight (or more) characters. It is a job of "
                 "--tenant, or of JOBLEDGER_TENANT.", show_default=False),
]  # fmt: skip
Workers = Annotated[
    int, typer.Option("--workers", "-w", min=1, max=64, help="Processes that fill the fresh view together.")
]
Throttle = Annotated[
    bool, typer.Option("--throttle", help="Leave the machine to live work: use about a quarter of one core.")
]
Cores = Annotated[
    float | None,
    typer.Option("--cores", min=0.01, max=1.0, show_default=False,
                 help="Use about this much of one core: 0.1. --throttle is 0.25; without either, all there is."),
]  # fmt: skip
DryRun = Annotated[bool, typer.Option("--dry-run", help="Make it anew and compare, but leave the view as it is.")]
Share = Annotated[float, typer.Option("--share", help="Of one core.")]
RebuildId = Annotated[str, typer.Argument(metavar="ID", help="The rebuild.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="projections")


parked.register(group)


@group.command()
def status(*, as_json: options.Json = False) -> None:
    """Show how far each view is, who keeps it current, what is parked, and which versions of it are kept."""
    with opened() as session:
        seen = overview(session.handle, session.actor)
    if as_json:
        print_json(shapes.overview(seen))
    else:
        view_status.print_overview(console(), seen)


@group.command()
def rebuild(
    *,
    name: Name,
    tenant: Tenant = None,
    job: Job = None,
    workers: Workers = 1,
    throttle: Throttle = False,
    cores: Cores = None,
    dry_run: DryRun = False,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Make a view anew from the ledger beside the live one, compare both, and put it in its place at once.

    Readers and writers go on. Interrupted, the same command goes on with it; `cancel` gives it up.
    """
    share = cores if cores is not None else QUARTER if throttle else 1.0
    purpose = Purpose.DRY_RUN if dry_run else Purpose.REBUILD
    with opened() as session:
        if name == WORK_QUEUE:
            whole_only(tenant, job)
            queue_rebuild.rebuild(session, reason=reason, dry_run=dry_run, as_json=as_json)
            return
        scope = scope_of(session, tenant, job)
        run(session, Request(view(name), purpose, scope, reason, workers, share), as_json=as_json)


@group.command()
def verify(
    *,
    name: Name,
    tenant: Tenant = None,
    job: Job = None,
    workers: Workers = 1,
    throttle: Throttle = False,
    cores: Cores = None,
    as_json: options.Json = False,
) -> None:
    """Compare a view with the ledger, at one position, while both go on. Exit code 1 where rows differ."""
    share = cores if cores is not None else QUARTER if throttle else 1.0
    with opened() as session:
        if name == WORK_QUEUE:
            whole_only(tenant, job)
            equal = queue_rebuild.verify(session, as_json=as_json)
        else:
            scope = scope_of(session, tenant, job)
            request = Request(view(name), Purpose.VERIFY, scope, workers=workers, share=share)
            equal = run(session, request, as_json=as_json)
    if not equal:
        raise typer.Exit(ExitCode.REFUSED)


@group.command()
def cancel(*, name: Name, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Give up the rebuild of a view that is under way. The live view stays as it is. The view may be one that this
    program does not have any more."""
    with opened() as session:
        cancelled = rebuilding.cancel_rebuild(session.handle, session.actor, any_view(name), reason)
    if as_json:
        print_json({"projection": name, "rebuild_id": str(cancelled.rebuild_id), "state": cancelled.state.value})
    else:
        console().print(f"{rebuild_output.what(cancelled)} given up; the live view is as it was", soft_wrap=True)


@group.command("drop-previous")
def drop_previous(*, name: Name, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Remove the version of a view that its last rebuild replaced."""
    with opened() as session:
        rows = rebuilding.drop_previous(session.handle, session.actor, any_view(name), reason)
    if as_json:
        print_json({"projection": name, "rows": rows})
    else:
        console().print(f"dropped the previous version of {name}: {rows:,} {'row' if rows == 1 else 'rows'}")


@group.command(hidden=True)
def fill(*, rebuild_id: RebuildId, share: Share = 1.0) -> None:
    """Fill slices of a rebuild; `rebuild --workers` starts this."""
    rebuild_progress.end_with_parent()
    with opened() as session:
        rebuilding.help_filling(session.handle, session.actor, rebuild_progress.parse_id(rebuild_id), share)


def run(session: Session, request: Request, *, as_json: bool) -> bool:
    """Rebuild or compare, showing how far it is; whether live and fresh rows were equal."""
    name = request.projection.name
    stored = session.handle.view_store.checkpoints().get(name)
    with rebuild_progress.shown(quiet=as_json) as progress:
        try:
            outcome = rebuilding.rebuild_view(
                session.handle, session.actor, request, joined=progress.joined, report=progress.report
            )
        except KeyboardInterrupt:
            progress.stop()
            rebuild_output.print_interrupted(error_console(), session.handle, name)
            raise
    if outcome.end is None:
        raise NotFound(f"the rebuild of {name} was given up by somebody else", field="NAME",
                       hint="jobledger projections status")  # fmt: skip
    other_fold = None if stored is None or stored.version == request.projection.version else stored.version
    answer = shapes.Answer(outcome, outcome.end, other_fold, progress.fresh)
    if as_json:
        print_json(shapes.rebuilt(request.projection, answer))
    else:
        rebuild_output.print_answer(console(), request.projection, answer)
    return outcome.end.comparison.is_equal


def view(name: str) -> Projection:
    """The projection of that name; NotFound names all."""
    projection = PROJECTIONS.get(name)
    if projection is None:
        known = ", ".join([*PROJECTIONS, WORK_QUEUE])
        raise NotFound(f"there is no view {name[:60]!r}", field="NAME", rule="a view", hint=f"views: {known}")
    return projection


def any_view(name: str) -> str:
    """The name of a view that this program has, or that an older one may have left behind."""
    return name if is_view_name(name) else view(name).name


def scope_of(session: Session, tenant: str | None, job: str | None) -> Scope:
    """Whose rows are meant. The tenant of the settings only says whose job it is: it never narrows a rebuild."""
    if job is None:
        return Scope(tenant)
    owner = session.tenant(tenant)
    return Scope(owner, session.ask(GetJob, tenant=owner, job=job_reference(job)).job_id)


def whole_only(tenant: str | None, job: str | None) -> None:
    """The work queue is verified and rebuilt as a whole."""
    if tenant is not None or job is not None:
        raise InvalidInput(
            f"{WORK_QUEUE} is verified and rebuilt as a whole", field="--tenant, --job", rule="the whole queue",
            hint=f"jobledger projections verify {WORK_QUEUE}",
        )  # fmt: skip
