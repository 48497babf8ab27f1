"""Events of jobs for the pages of this server: the same feed, the same cap and the same pace as the API's streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

from jobledger.domain.errors import InvalidInput

from .feed import EventFeed, Wanted
from .rates import Streams
from .sse import EventStream, Known, follow

RESUMED_MAX = 1_000
"""Positions that may have passed since a page was told something last. It looks anew at what it shows whenever a stream
begins: further back there is nothing that it needs."""


class Following:
    """Begins streams for whoever a page's server let in."""

    def __init__(self, feed: EventFeed, streams: Streams) -> None:
        self._feed = feed
        self._streams = streams

    def stream(
        self, tenant: str, *, job_id: UUID | None = None, job_type: str | None = None, persona: str | None = None,
        queues: frozenset[str] | None = None, last: str | None, name: str, is_known: Known,
    ) -> EventStream:  # fmt: skip
        """What comes from now on, or after `last` where that is near. Its first event is called `begun`, and its id is
        the position after which all is told. `name` is that of the identity whose streams are counted."""
        begun = self._begun(last)
        told = self._told(Wanted(tenant, job_id, job_type, persona, None, queues), begun, is_known)
        return EventStream(told, room=self._streams.opened(name))

    def _begun(self, last: str | None) -> int:
        head = self._feed.reader.head()
        try:
            position = self._feed.positions.number(last) if last else head
        except InvalidInput:  # of before the ledger was restored
            return head
        return position if head - RESUMED_MAX <= position <= head else head

    async def _told(self, wanted: Wanted, begun: int, is_known: Known) -> AsyncGenerator[bytes]:
        yield f"event: begun\nid: {self._feed.positions.text(begun)}\ndata: {{}}\n\n".encode()
        async with aclosing(follow(self._feed, wanted, begun, is_known)) as events:
            async for told in events:
                yield told
