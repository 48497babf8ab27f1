"""For auditors: the events as they were recorded, and what people did by hand.

A replay is read as it comes. At its end it is compared with the ledger's record of it: what was read in part, or was
changed on the way, is told as `Unreadable`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TypedDict, TypeVar, Unpack
from uuid import UUID

from pydantic import ValidationError

from ..api.audit import Action, Actions, AuditEvent, ExportRecord, Format
from .core import Core, answered, ask, path
from .errors import Unreachable, Unreadable
from .exchange import Emit, Emits, Flow, Open, ReadBytes, Request, Trouble
from .lines import Lines
from .paging import paged

T = TypeVar("T")

PAGE_ROWS = 200
_EXPORT_ID = "jobledger-export-id"


class Replayed(TypedDict, total=False):
    """Which events are meant: recorded from `since` (inclusive) to `until` (exclusive), of `topics` (`job.failed`,
    `job.*`), by an `actor`. `bodies`: with payloads, results and logs, which is a permission. `reason`: for the record
    that the ledger makes of the export."""

    since: datetime
    until: datetime
    topics: Sequence[str]
    actor: str
    bodies: bool
    reason: str


def replay(core: Core, *, tenant: str | None = None, **which: Unpack[Replayed]) -> Emits[AuditEvent]:
    """The events of a tenant in the order of the ledger (`system`: the installation's own), as they are read. Raises
    `NotPermitted` without the permission, `Unreadable` where they are not all that the ledger handed out."""
    lines = Lines()

    def taken(content: bytes) -> Iterator[AuditEvent]:
        lines.feed(content)
        while (line := lines.take()) is not None:
            yield _event(line)

    return _read(core, core.tenant_of(tenant), "jsonl", which, taken)


def export(
    core: Core,
    *,
    tenant: str | None = None,
    format: Format = "jsonl",  # noqa: A002 - as it is called everywhere
    **which: Unpack[Replayed],
) -> Emits[bytes]:
    """The same as bytes, to be written into a file one after the other: `jsonl`, `csv` or `cloudevents`."""
    return _read(core, core.tenant_of(tenant), format, which, lambda content: (content,))


def get_export(core: Core, export_id: UUID | str, *, tenant: str | None = None) -> Flow[ExportRecord]:
    """What the ledger says of an export: who got what, when and why; with the hash, where it came to its end."""
    request = core.request("GET", path("audit", "exports", export_id), parameters={"tenant": core.tenant_of(tenant)})
    return ask(core, request, ExportRecord)


def list_actions(
    core: Core,
    *,
    tenant: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    actor: str | None = None,
    limit: int | None = None,
) -> Emits[Action]:
    """What people did by hand, oldest first: who, when, what, on what, why. Of all tenants that the key may see, or of
    one (`system`: of the installation itself); all of them, or at most `limit`."""
    rows = PAGE_ROWS if limit is None else min(limit, PAGE_ROWS)

    def page(cursor: str | None) -> Flow[Actions]:
        parameters = {
            "tenant": tenant, "from": since, "to": until, "actor": actor, "limit": rows, "cursor": cursor,
        }  # fmt: skip
        return ask(core, core.request("GET", path("audit", "actions"), parameters=parameters), Actions)

    return paged(page, items=lambda found: found.acts, following=lambda found: found.next_cursor, limit=limit)


def _read(core: Core, tenant: str, form: Format, which: Replayed, taken: Callable[[bytes], Iterable[T]]) -> Emits[T]:
    parameters = {
        "tenant": tenant, "format": form, "from": which.get("since"), "to": which.get("until"),
        "topic": which.get("topics"), "actor": which.get("actor"), "bodies": which.get("bodies") or None,
        "reason": which.get("reason"),
    }  # fmt: skip
    request = core.request("GET", path("audit", "events"), parameters=parameters, accept="*/*")
    answer = yield from answered(core, request, effect=Open)
    digest = hashlib.sha256()
    while (content := (yield from _content(request))) is not None:
        digest.update(content)
        for item in taken(content):
            yield Emit(item)
    record = yield from get_export(core, answer.headers.get(_EXPORT_ID, ""), tenant=tenant)
    if record.ended is None or record.ended.sha256 != digest.hexdigest():
        raise Unreadable(f"export {record.export_id} is not what the ledger handed out: it was cut short, or changed")


def _content(request: Request) -> Flow[bytes | None]:
    """The next bytes of the stream. One that breaks off is not gone on with: an export is one reading."""
    try:
        content: bytes | None = yield ReadBytes()
    except Trouble as trouble:
        raise Unreachable(f"{request.method} {request.path}: {trouble}") from trouble
    return content


def _event(line: str) -> AuditEvent:
    try:
        return AuditEvent.model_validate_json(line)
    except ValidationError as error:
        raise Unreadable("a line of an export that is no event") from error
