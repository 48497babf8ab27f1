"""Rebuilding and comparing views as operations of a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from jobledger.application.access_messages import RecordRefusedAccess
from jobledger.domain.errors import InvalidSettings, LoginRefused, NotFound, NotPermitted, Refusal
from jobledger.domain.identity import Permission
from jobledger.domain.job import require_reason
from jobledger.projections.beginning import Joined
from jobledger.projections.catalogue import PROJECTIONS
from jobledger.projections.open_jobs import NAME as WORK_QUEUE
from jobledger.projections.rebuild import End, Outcome, Standing
from jobledger.projections.shadow import Rebuild, RebuildState, shadow_of

from ..queue_rebuilding import rebuild_queue, require_no_workers, verify_queue
from ..rebuilding import Request, rebuild_view
from ..shapes import projections as shapes
from ..shapes.texts import iso
from ..view_standing import fraction
from .operations import Interrupted, Operation, Work, progress, shape
from .problem_documents import ApiError, problem_of
from .services import Caller

_FIELDS: Final = {"NAME": "name", "--tenant": "tenant", "--job": "job_id", "--dry-run": "dry_run"}
"""What refusals call what they are about, as the command line knows it; and as routes do."""
_QUEUE_KEYS = ("job_id",)


def require_views(caller: Caller, asked: str | None) -> None:
    """Raise `NotPermitted` unless the caller may operate views, which are everybody's. What would change something
    (`asked`) is recorded."""
    try:
        caller.authorized.require(Permission.VIEWS, None)
    except NotPermitted as error:
        if asked is not None:
            caller.services.authorization.accesses.record(RecordRefusedAccess(
                actor=caller.actor, asked=asked, permission=error.permission, trace_parent=caller.trace_parent
            ))  # fmt: skip
        raise


@contextmanager
def told_for_http() -> Iterator[None]:
    """Errors about views, as a server tells them: also why its own login may not."""
    try:
        yield
    except LoginRefused as error:
        raise ApiError(
            "login_refused", "this server's login to the database may not operate views",
            rule="a login that may rebuild views", hint="ask a server that has one, or use: jobledger projections",
        ) from error  # fmt: skip
    except InvalidSettings as error:
        raise ApiError(
            "sessions_needed", "this server reaches the database through a pooler", rule="a session of its own",
            hint="ask a server that connects directly, or use: jobledger projections",
        ) from error  # fmt: skip
    except Refusal as error:
        error.field = _FIELDS.get(error.field or "", error.field)
        raise


# --- views -----------------------------------------------------------------------------------------------------------


def begin(caller: Caller, request: Request) -> str:
    """Rebuild or compare a view, or go on with its rebuild; the id of the operation, which is that of the rebuild."""
    services, projection = caller.services, request.projection
    handle, operations = services.handle, services.operations

    def work(operation: Operation) -> dict[str, Any]:
        stored, fresh = handle.view_store.checkpoints().get(projection.name), True

        def joined(found: Joined) -> None:
            nonlocal fresh
            fresh = found.fresh
            known = operations.get(None, str(found.rebuild.rebuild_id))
            operation.known_as(str(found.rebuild.rebuild_id))
            if known is not None and known.ended_at is None:
                raise Interrupted  # it goes on here already

        def report(at: Standing) -> None:
            operation.report(at.events, None, state=at.state.value, fraction=round(at.fraction, 4))

        outcome = rebuild_view(handle, caller.actor, request, joined=joined, report=report)
        operation.came_to(outcome.rebuild.state.value, None if outcome.end is None else 1.0)
        if outcome.end is None:
            raise _given_up(outcome.rebuild)
        other_fold = None if stored is None or stored.version == projection.version else stored.version
        return plain(shapes.rebuilt(projection, shapes.Answer(outcome, outcome.end, other_fold, fresh)))

    return _begin(caller, f"projection.{request.purpose.value}", request.reason, work)


def begin_queue(caller: Caller, *, rebuild: bool, reason: str) -> str:
    """The same for the work queue, which is made right in one transaction: only this server knows of it."""
    handle = caller.services.handle

    def work(operation: Operation) -> dict[str, Any]:
        if rebuild:
            require_reason(reason, "rebuilding the work queue")
            require_no_workers(handle.ports.queue)
        operation.known_as(str(uuid4()))
        if not rebuild:
            compared = verify_queue(handle.queue_tables, lambda rows: operation.report(rows, None))
            operation.came_to(RebuildState.COMPARED.value, 1.0)
            told = {"purpose": "verify", "swapped": False}
            return plain({"projection": WORK_QUEUE, **told, **shapes.comparison(_QUEUE_KEYS, compared)})
        done = rebuild_queue(
            handle.queue_tables, handle.ports.queue, handle.dispatcher, actor=caller.actor, reason=reason
        )  # fmt: skip
        operation.came_to(RebuildState.SWAPPED.value, 1.0)
        told = {"purpose": "rebuild", "swapped": True, "events": done.events, "seconds": round(done.seconds, 3)}
        return plain({"projection": WORK_QUEUE, **told, **shapes.comparison(_QUEUE_KEYS, done.before)})

    return _begin(caller, "projection.rebuild" if rebuild else "projection.verify", reason, work)


def _begin(caller: Caller, kind: str, reason: str, work: Work) -> str:
    def told(operation: Operation) -> dict[str, Any]:
        with told_for_http():
            return work(operation)

    now = caller.services.handle.ports.clock.now()
    operation = Operation(kind, None, caller.actor.id, reason, now)
    return caller.services.operations.begin(operation, told, caller.actor.request_id)


def plain(document: dict[str, object]) -> dict[str, Any]:
    """As JSON has it: values of rows may be anything that a database has."""
    text = json.dumps(document, default=lambda value: iso(value) if isinstance(value, datetime) else str(value))
    answer: dict[str, Any] = json.loads(text)
    return answer


# --- what became of it -----------------------------------------------------------------------------------------------


def look(caller: Caller, operation_id: str) -> dict[str, Any]:
    """An operation on a view, by what this server knows, else by what is stored of the rebuild. Raises `NotFound`."""
    own = caller.services.operations.get(None, operation_id)
    if own is not None and not (own.problem is not None and own.problem.code == "interrupted"):
        return own.shape()
    try:
        rebuild = caller.services.handle.shadows.get(UUID(operation_id))
    except (ValueError, NotFound) as error:
        raise NotFound(
            f"there is no operation {operation_id[:60]!r}", field="operation_id",
            rule="is the id of a rebuild or a comparison",
        ) from error  # fmt: skip
    return _stored(caller, rebuild)


def _stored(caller: Caller, rebuild: Rebuild) -> dict[str, Any]:
    """A rebuild that another process worked on, or a server that was restarted since."""
    projection = PROJECTIONS.get(rebuild.projection)
    result, problem, status = None, None, "unattended"
    if rebuild.is_over:
        status, end = "failed", _end(rebuild)
        if end is None or projection is None:
            problem = problem_of(_given_up(rebuild), caller.actor.request_id)
        else:
            answer = shapes.Answer(Outcome(rebuild, end), end, None, fresh=True)
            status, result = "succeeded", plain(shapes.rebuilt(projection, answer))
    far = 1.0
    if not rebuild.is_over and projection is not None:
        stored = caller.services.handle.view_store.checkpoints()
        far = fraction(rebuild, stored.get(shadow_of(projection).name), stored.get(projection.name))
    return shape(
        str(rebuild.rebuild_id), f"projection.{rebuild.purpose.value}", status, actor=rebuild.actor,
        reason=rebuild.reason, begun_at=rebuild.begun_at, ended_at=rebuild.ended_at, result=result, problem=problem,
        progress=progress(rebuild.events, None, state=rebuild.state.value, fraction=round(far, 4)),
    )  # fmt: skip


def _end(rebuild: Rebuild) -> End | None:
    if rebuild.comparison is None or rebuild.state not in (RebuildState.SWAPPED, RebuildState.COMPARED):
        return None
    seconds = ((rebuild.ended_at or rebuild.begun_at) - rebuild.begun_at).total_seconds()
    swapped = rebuild.state is RebuildState.SWAPPED
    return End(swapped, rebuild.events, 0, max(0.0, seconds), rebuild.comparison)


def _given_up(rebuild: Rebuild) -> ApiError:
    return ApiError(
        "given_up", f"the rebuild of {rebuild.projection} was given up: {rebuild.error or 'nobody said why'}",
        rule="goes on to its end", hint="the live view is as it was; begin another one",
    )  # fmt: skip
