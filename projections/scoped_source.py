"""The ledger as a rebuild reads it once its slices are filled: up to a position, one tenant's or one job's events where
only those are rebuilt."""

from __future__ import annotations

from .ports import SeenBatch, StreamSource
from .shadow import Scope


class ScopedSource:
    """An `EventSource`. `until` is the position that it is read up to; it may be raised."""

    def __init__(self, source: StreamSource, scope: Scope) -> None:
        self._source = source
        self._scope = scope
        self.until = 0

    def head(self) -> int:
        """`until`, or the ledger's head where that lies before it."""
        return min(self.until, self._source.head())

    def read_after(
        self, position: int, *, limit: int, without: frozenset[str] = frozenset(), until: int | None = None
    ) -> SeenBatch:
        """See the port."""
        end, scope = self.until if until is None else min(until, self.until), self._scope
        if scope.job is not None:
            readable = min(end, self._source.head())
            events = [
                event
                for event in self._source.read_stream(scope.job)
                if position < event.position <= readable
                and event.topic not in without
                and scope.tenant in (None, event.tenant)
            ]
            return SeenBatch(events, max(position, readable))
        if scope.tenant is not None:
            return self._source.read_tenant(scope.tenant, position, position=end, limit=limit, without=without)
        return self._source.read_after(position, limit=limit, without=without, until=end)
