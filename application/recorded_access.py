"""Records who was refused what, and who was allowed what left no other record, on the installation's side."""

from __future__ import annotations

from jobledger.domain.audit import AccessAllowed, AccessRefused, audit_stream
from jobledger.domain.errors import LedgerBusy
from jobledger.domain.event import Event, Facts
from jobledger.domain.identifiers import SYSTEM_TENANT

from .access_messages import RecordAllowedAccess, RecordRefusedAccess
from .dispatcher import Dispatcher
from .flow import Flow
from .ports import Identifiers, LedgerWriter
from .result import Accepted
from .writes import AppendEvents, WriteStatus


class RecordedAccess:
    """The handlers of the records."""

    def __init__(self, writer: LedgerWriter, identifiers: Identifiers) -> None:
        self._writer = writer
        self._identifiers = identifiers

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the messages of this module."""
        dispatcher.register(RecordRefusedAccess, self.refused)
        dispatcher.register(RecordAllowedAccess, self.allowed)

    def refused(self, command: RecordRefusedAccess, flow: Flow) -> Accepted[str]:
        """Write a refusal."""
        return self._record(flow, AccessRefused(
            asked=command.asked, permission=command.permission, tenant_claimed=command.tenant_claimed,
            count=command.count,
        ))  # fmt: skip

    def allowed(self, command: RecordAllowedAccess, flow: Flow) -> Accepted[str]:
        """Write what was allowed."""
        return self._record(flow, AccessAllowed(
            asked=command.asked, permission=command.permission, tenant_claimed=command.tenant_claimed,
            outcome=command.outcome, count=command.count,
        ))  # fmt: skip

    def _record(self, flow: Flow, facts: Facts) -> Accepted[str]:
        """Each has a stream of its own, so that nobody waits for another."""
        stream = audit_stream(SYSTEM_TENANT, str(self._identifiers.job_id()))
        event = Event(stream, 1, SYSTEM_TENANT, flow.metadata(), facts)
        (outcome,) = self._writer.write([AppendEvents((event,))])
        if outcome.status is not WriteStatus.WRITTEN:
            raise LedgerBusy("who asked was not recorded", hint="try again")
        return Accepted(event.event_id)
