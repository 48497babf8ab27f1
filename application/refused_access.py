"""Records who was refused what, on the installation's side."""

from __future__ import annotations

from jobledger.domain.audit import AccessRefused, audit_stream
from jobledger.domain.errors import LedgerBusy
from jobledger.domain.event import Event
from jobledger.domain.identifiers import SYSTEM_TENANT

from .access_messages import RecordRefusedAccess
from .dispatcher import Dispatcher
from .flow import Flow
from .ports import Identifiers, LedgerWriter
from .result import Accepted
from .writes import AppendEvents, WriteStatus


class RefusedAccess:
    """The handler of the record."""

    def __init__(self, writer: LedgerWriter, identifiers: Identifiers) -> None:
        self._writer = writer
        self._identifiers = identifiers

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the message of this module."""
        dispatcher.register(RecordRefusedAccess, self.record)

    def record(self, command: RecordRefusedAccess, flow: Flow) -> Accepted[str]:
        """Write it; each refusal has a stream of its own, so that nobody waits for another."""
        stream = audit_stream(SYSTEM_TENANT, str(self._identifiers.job_id()))
        facts = AccessRefused(
            asked=command.asked, permission=command.permission, tenant_claimed=command.tenant_claimed,
            count=command.count,
        )  # fmt: skip
        event = Event(stream, 1, SYSTEM_TENANT, flow.metadata(), facts)
        (outcome,) = self._writer.write([AppendEvents((event,))])
        if outcome.status is not WriteStatus.WRITTEN:
            raise LedgerBusy("the refusal was not recorded", hint="try again")
        return Accepted(event.event_id)
