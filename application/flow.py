"""The flow a message is part of: who, when, because of what. Made once by the dispatcher, handed to every handler."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from jobledger.domain.event import Metadata

from .message import Actor


class Flow(NamedTuple):
    """`trace_parent` is that of the command's own span, so that attempts are linked to the dispatch."""

    by: Actor
    correlation_id: str
    trace_parent: str
    causation_id: str | None
    time: datetime

    @property
    def actor(self) -> str:
        """Who acts, as events name it."""
        return self.by.id

    def metadata(
        self, *, correlation_id: str | None = None, trace_parent: str | None = None, causation_id: str | None = None
    ) -> Metadata:
        """The metadata of events recorded in this flow; what is given stands instead of the flow's own."""
        by = self.by
        return Metadata(
            correlation_id=correlation_id or self.correlation_id, trace_parent=trace_parent or self.trace_parent,
            causation_id=causation_id or self.causation_id, actor=by.id, authenticated=by.authenticated, time=self.time,
            on_behalf_of=by.on_behalf_of, address=by.address, request_id=by.request_id,
        )  # fmt: skip
