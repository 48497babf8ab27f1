"""Reading bodies is an act of its own: it is in the ledger before the reader sees anything.

Bodies are payloads, results, logs, tracebacks and step outputs. Lists, facts, and what workers read to run jobs are not
recorded. Where the record cannot be written, the bodies are not shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from jobledger.domain.audit import BodiesRead, audit_stream
from jobledger.domain.errors import LedgerBusy, LedgerError
from jobledger.domain.event import Event

from .flow import Flow
from .ports import Identifiers, LedgerWriter
from .writes import AppendEvents, WriteStatus


class BodyReads:
    """Records who read which bodies."""

    def __init__(self, writer: LedgerWriter, identifiers: Identifiers) -> None:
        self._writer = writer
        self._identifiers = identifiers

    def record(self, tenant: str, job_id: UUID, versions: Iterable[int], flow: Flow) -> None:
        """Record that bodies of these versions of a job are about to be shown; none: nothing is recorded.

        Costs one group commit. Raises the `LedgerError` that kept it from being written.
        """
        shown = tuple(sorted(set(versions)))
        if not shown:
            return
        stream = audit_stream(tenant, str(self._identifiers.job_id()))
        facts = BodiesRead(job_id=job_id, versions=shown)
        try:
            (outcome,) = self._writer.write([AppendEvents((Event(stream, 1, tenant, flow.metadata(), facts),))])
        except LedgerError as error:
            raise _not_shown(error) from error
        if outcome.status is not WriteStatus.WRITTEN:
            raise _not_shown(LedgerBusy("the record was not written"))


def _not_shown(error: LedgerError) -> LedgerError:
    return type(error)(
        f"bodies are not shown, because who reads them is recorded first and that failed: {error.message}",
        field=error.field, rule="reads of bodies are recorded", hint="without bodies: --no-bodies, or bodies=False",
    )  # fmt: skip
