"""For auditors: the events as they were recorded, handed out as they are read, and what people did."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request, Security
from fastapi.responses import StreamingResponse
from starlette.concurrency import iterate_in_threadpool

from jobledger.application.audit_messages import BeginExport, EndExport, Export, GetExport, ListManualActs
from jobledger.application.queries import PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX
from jobledger.domain.event import event_id

from ...api import audit as api
from ...audit_files import Written
from ...audit_streams import stream_events
from ...shapes import audit as shapes
from ..authentication import AuthenticatedRoute, bearer, is_still_proved
from ..documented import problems
from ..moments import When
from ..services import Caller, Calling

router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=AuthenticatedRoute, dependencies=[Security(bearer)])

EXPORT_ID: Final = "Jobledger-Export-Id"
_MEDIA_TYPES: Final[dict[str, str]] = {
    "jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8",
    "cloudevents": "application/cloudevents+json; boundary=newline",
}  # fmt: skip
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The events in the order of the ledger, one a line (in CSV: a record). `Jobledger-Export-Id` "
        "names the record of the export, which has the SHA-256 of all bytes once the last was taken.",
        "headers": {EXPORT_ID: {"schema": {"type": "string", "format": "uuid"}}},
        "content": {
            media_type.partition(";")[0]: {"schema": {"type": "string"}} for media_type in _MEDIA_TYPES.values()
        },
    }
}

Since = Annotated[
    When | None, Query(alias="from", description="Recorded at this time, or later.",
                                examples=["2026-03-01T00:00:00Z"])
]  # fmt: skip
Until = Annotated[When | None, Query(alias="to", description="Recorded before this time.")]
By = Annotated[str | None, Query(description="Only what this actor did.", min_length=1, max_length=200)]


@router.get(
    "/events", operation_id="replay_events", summary="The events of a tenant", response_class=StreamingResponse,
    responses={**_STREAM, **problems()},
)  # fmt: skip
def replay_events(
    *,
    caller: Calling,
    request: Request,
    tenant: Annotated[str, Query(description="Whose; `system`: of the installation itself.")],
    since: Since = None,
    until: Until = None,
    topic: Annotated[
        list[str] | None,
        Query(description="Only these: `job.failed`, or `job.*`. May be repeated.", max_length=100),
    ] = None,
    actor: By = None,
    format: Annotated[api.Format, Query(description="How they are written.")] = "jsonl",  # noqa: A002
    bodies: Annotated[bool, Query(description="With payloads, results, logs: a permission.")] = False,
    reason: Annotated[str, Query(max_length=1_000, description="Why, for the record.")] = "",
) -> StreamingResponse:  # fmt: skip
    """Recorded before the first byte, and after the last with its hash: what is read in part is seen to be. It breaks
    off where the credential proves nothing any more."""
    export = caller.ask(
        BeginExport, tenant=tenant, recorded_from=since, recorded_to=until, types=tuple(topic or ()), by=actor,
        format=format, bodies=bodies, reason=reason,
    ).value  # fmt: skip
    positions = caller.services.positions

    def ended(written: Written) -> None:
        _record_end(caller, export, written)

    events = stream_events(export, lambda position: positions.text(position) or "", ended)
    headers = {
        EXPORT_ID: str(export.export_id), "Jobledger-Recorded-As": event_id(export.export_id, 1),
        "Jobledger-Horizon": export.horizon, "Cache-Control": "no-store",
    }  # fmt: skip
    content = _while_proved(request, caller, events)
    return StreamingResponse(content, media_type=_MEDIA_TYPES[format], headers=headers)


class ExportCut(Exception):
    """Whoever took an export proves nothing any more."""


async def _while_proved(request: Request, caller: Caller, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks, as long as the credential proves who asks. After that the answer breaks off: without its last chunk
    no client takes it for whole, and the record of the export has no end."""
    async for chunk in iterate_in_threadpool(chunks):
        if not await is_still_proved(request, caller.identity):
            raise ExportCut(f"{caller.identity.id} proves nothing any more")
        yield chunk


def _record_end(caller: Caller, export: Export, written: Written) -> None:
    caller.ask(
        EndExport, tenant=export.tenant, export_id=export.export_id, events=written.events,
        first_position=written.first_position, last_position=written.last_position, sha256=written.sha256,
    )  # fmt: skip


@router.get(
    "/exports/{export_id}", operation_id="get_export", summary="What the ledger says of an export",
    response_model=api.ExportRecord, responses=problems(),
)  # fmt: skip
def get_export(
    *, export_id: UUID, caller: Calling, tenant: Annotated[str, Query(description="Whose events were exported.")]
) -> Any:  # noqa: ANN401 - as the response model says
    """Who got what, when and why; with the hash, where it came to its end."""
    record = caller.ask(GetExport, tenant=tenant, export_id=export_id).value
    return caller.told({"export_id": export_id, "tenant": tenant, **shapes.export(record)})


@router.get("/actions", operation_id="list_actions", summary="What people did by hand", response_model=api.Actions,
            responses=problems())  # fmt: skip
def list_actions(
    *,
    caller: Calling,
    tenant: Annotated[
        str | None, Query(description="Only of this tenant; `system`: of the installation itself.")
    ] = None,
    since: Since = None,
    until: Until = None,
    actor: By = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT_MAX)] = PAGE_LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before, with the same filters.")] = None,
) -> Any:  # noqa: ANN401, fmt: skip
    """Oldest first: who, when, what, on what, why."""
    cursors, scope = caller.services.cursors, _scope(tenant, since, until, actor)
    page = caller.ask(
        ListManualActs, tenant=tenant, recorded_from=since, recorded_to=until, by=actor, limit=limit,
        cursor=cursors.read(cursor, scope),
    ).value  # fmt: skip
    return {"acts": [shapes.act(act) for act in page.acts], "next_cursor": cursors.sign(page.cursor, scope)}


def _scope(tenant: str | None, since: datetime | None, until: datetime | None, actor: str | None) -> str:
    return repr(("actions", tenant, str(since), str(until), actor))
