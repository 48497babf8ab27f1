"""What is done to many dead jobs at once: begun as an operation of the server, and looked at from any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from jobledger.application.dlq_messages import BulkActOfDlq, DiscardDlq, DlqProgress, GetDlqAct, RequeueDlq
from jobledger.domain.dlq import BulkAct
from jobledger.domain.identity import Permission

from ..shapes import dlq as shapes
from .services import Doing, Visitor

ACTS: Final[dict[str, tuple[type[RequeueDlq | DiscardDlq], Permission]]] = {
    "requeue": (RequeueDlq, Permission.REQUEUE), "discard": (DiscardDlq, Permission.OPERATE),
}  # fmt: skip
WORDS: Final = {"requeue": "requeued", "discard": "discarded"}
UNDER_WAY: Final = {"requeue": "Requeueing", "discard": "Discarding"}


class Asked(NamedTuple):
    """What somebody confirmed: which act, which jobs (`meant`, fields of the message), how many there may be, why."""

    act: BulkAct
    tenant: str
    meant: Mapping[str, object]
    confirmed: int
    reason: str
    ticket: str | None


class BulkStanding(NamedTuple):
    """How an act stands: by the ledger, and by what this server knows where it is the one that does it."""

    found: BulkActOfDlq
    done: int
    state: str
    """`running`, `finished`, `interrupted` (it was told to stop) or `died`."""
    troubles: Sequence[Mapping[str, Any]]
    position: str | None

    @property
    def goes_on(self) -> bool:
        """Whether somebody is at it."""
        return self.state == "running"

    @property
    def mark(self) -> str:
        """The same as long as nothing has changed."""
        return f"{self.state}.{self.done}"


def begin(visitor: Visitor, asked: Asked) -> str:
    """Begin it; its id, once that is on record. Raises what kept it from beginning."""
    fields = {
        "tenant": asked.tenant, "confirmed": asked.confirmed, "reason": asked.reason, "ticket": asked.ticket,
        **asked.meant,
    }  # fmt: skip

    def work(operation: Doing) -> dict[str, Any]:
        def report(far: DlqProgress) -> None:
            operation.report(far.seen, asked.confirmed)

        message, _ = ACTS[asked.act]
        return shapes.result(visitor.ask(message, **fields, begun=operation.known_as, progress=report).value)

    return visitor.services.operations.start(
        f"dlq.{asked.act}", tenant=asked.tenant, actor=visitor.actor.id, reason=asked.reason, total=asked.confirmed,
        work=work, request_id=visitor.actor.request_id,
    )  # fmt: skip


def look(visitor: Visitor, tenant: str, act: str, queue: str | None) -> BulkStanding:
    """How an act stands. Raises `NotFound`."""
    found = visitor.ask(GetDlqAct, tenant=tenant, act=act, queue=queue).value
    return standing(visitor, tenant, found)


def standing(visitor: Visitor, tenant: str, found: BulkActOfDlq) -> BulkStanding:
    """How one stands that was looked up."""
    own = visitor.services.operations.get(tenant, found.event_id)
    result = own.result if own is not None and own.result is not None else {}
    done = found.progress.seen if found.progress is not None else 0
    if found.ended is None and own is not None:
        done = max(done, own.done)
    at_it = own is not None and own.ended_at is None
    state = "running" if at_it else _state(found, visitor.services.clock.now())
    return BulkStanding(found, done, state, result.get("troubles") or (), result.get("position"))


def _state(found: BulkActOfDlq, now: datetime) -> str:
    if found.ended is not None:
        return "finished" if found.ended.finished else "interrupted"
    return "died" if found.has_died(now) else "running"
