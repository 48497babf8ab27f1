"""Apply what the assistant proposed and a person has confirmed (outside of any job)."""

import sqlite3
from dataclasses import dataclass

from ..errors import ConflictingActionError
from ..payloads import ApplyAction, BookRoom, OpenWorkOrder, SendNotice
from ..results import AppliedAction
from ..workspace import Workspace
from . import tenant_database


@dataclass(frozen=True, slots=True)
class Assistant:
    """The actions of all tenants, each in its own tenant's database."""

    workspace: Workspace

    def apply(self, tenant: str, request: ApplyAction) -> AppliedAction:
        """Apply an action once. Raises ConflictingActionError, TenantNotReadyError, TenantCancelledError."""
        with tenant_database.transaction(self.workspace.database(tenant)) as connection:
            already = _is_applied(connection, request.action_id)
            if not already:
                _insert(connection, request)
        return AppliedAction(
            action_id=request.action_id,
            kind=request.action.kind,
            summary=_summary(request.action),
            already_applied=already,
        )


def _is_applied(connection: sqlite3.Connection, action_id: str) -> bool:
    found = connection.execute("SELECT 1 FROM applied_action WHERE action_id = ?", (action_id,)).fetchone()
    return found is not None


def _insert(connection: sqlite3.Connection, request: ApplyAction) -> None:
    summary = _summary(request.action)
    try:
        connection.execute(
            "INSERT INTO applied_action (action_id, kind, summary, confirmed_by, confirmed_at, exclusive_key)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                request.action_id,
                request.action.kind,
                summary,
                request.confirmed_by,
                request.confirmed_at.isoformat(),
                _exclusive_key(request.action),
            ),
        )
    except sqlite3.IntegrityError as error:
        raise ConflictingActionError(f"somebody else already has it: {summary}") from error


def _exclusive_key(action: BookRoom | SendNotice | OpenWorkOrder) -> str | None:
    """What only one action can have: a room on a day."""
    return f"{action.room}@{action.day.isoformat()}" if isinstance(action, BookRoom) else None


def _summary(action: BookRoom | SendNotice | OpenWorkOrder) -> str:
    match action:
        case BookRoom():
            # Without the unit: the other family would learn who has the room.
            return f"{action.room} on {action.day.isoformat()}"
        case SendNotice():
            return f"notice: {action.title}"
        case OpenWorkOrder():
            return f"work order: {action.problem}, {action.place}"
