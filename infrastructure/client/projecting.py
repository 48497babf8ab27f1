"""Views (read models): how they stand, and how they are made anew. What takes longer than a request is an operation."""

from __future__ import annotations

from ..api.jobs import ReasonRequest
from ..api.operations import Begun, Operation
from ..api.projections import Cancelled, Dropped, RebuildRequest, VerifyRequest, Views
from .core import Core, JobRef, ask, path
from .dlq import ended, id_of
from .exchange import Flow


def list_projections(core: Core) -> Flow[Views]:
    """How far each view is, who keeps it current, what is parked, which versions of it are kept."""
    return ask(core, core.request("GET", path("projections")), Views)


def rebuild(
    core: Core,
    name: str,
    *,
    reason: str,
    dry_run: bool = False,
    cores: float | None = None,
    tenant: str | None = None,
    job: JobRef | None = None,
) -> Flow[Begun]:
    """Begin to make a view anew beside the live one, compare both and swap them; one that is not over is gone on with.
    `dry_run` compares only. Of all rows, of a `tenant`'s, or of one `job` of it; with `cores` of 0.01 to 1 it leaves
    the rest of a core to others. `wait` waits for the end. Raises `Conflict` where another one is under way."""
    said = {"reason": reason, "dry_run": dry_run or None, "cores": cores, "tenant": tenant, "job_id": job}
    body = RebuildRequest.model_validate({name: value for name, value in said.items() if value is not None})
    return ask(core, core.request("POST", path("projections", name, "rebuild"), body=body), Begun)


def verify(
    core: Core,
    name: str,
    *,
    reason: str = "",
    cores: float | None = None,
    tenant: str | None = None,
    job: JobRef | None = None,
) -> Flow[Begun]:
    """Begin to compare a view with the ledger, as `rebuild`; `result["differing"]` of the operation counts rows."""
    said = {"reason": reason or None, "cores": cores, "tenant": tenant, "job_id": job}
    body = VerifyRequest.model_validate({name: value for name, value in said.items() if value is not None})
    return ask(core, core.request("POST", path("projections", name, "verify"), body=body), Begun)


def cancel_rebuild(core: Core, name: str, *, reason: str) -> Flow[Cancelled]:
    """Give a rebuild up: the live view stays as it is."""
    request = core.request("POST", path("projections", name, "cancel"), body=ReasonRequest(reason=reason))
    return ask(core, request, Cancelled)


def drop_previous(core: Core, name: str, *, reason: str) -> Flow[Dropped]:
    """Remove the version of a view that its last rebuild replaced."""
    request = core.request("POST", path("projections", name, "drop-previous"), body=ReasonRequest(reason=reason))
    return ask(core, request, Dropped)


def get_operation(core: Core, operation: Begun | str) -> Flow[Operation]:
    """How far a rebuild or a comparison is."""
    return ask(core, core.request("GET", path("operations", id_of(operation))), Operation)


def wait(core: Core, operation: Begun | str, *, timeout_seconds: float = 600.0) -> Flow[Operation]:
    """A rebuild or a comparison once it has succeeded or failed. Raises `NotFinished` when time is out: it goes on."""
    return ended(core, lambda: get_operation(core, operation), id_of(operation), timeout_seconds)
