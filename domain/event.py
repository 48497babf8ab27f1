"""The envelope of every event, and the base of every event's facts.

Three things are kept apart. **Facts** (`Facts`) say what happened and stay for ever. **Metadata** says who, when and
because of what. A **body** (payload, result, log lines, traceback, step output) is data of the customer's world:
bytes that no fold and no decision reads, so that they can be removed later without touching a fact.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, NamedTuple
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict


class Facts(BaseModel):
    """Base of what an event says. `topic` is stored data: explicit, stable, never an import path."""

    # what JSON has no number for would be recorded as null, which nobody could read back
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    topic: ClassVar[str]
    schema_version: ClassVar[int] = 1
    """Raised with every change of shape; `domain/topics.py` then holds an upcaster from each older version."""


class Metadata(BaseModel):
    """Who did it, when, and because of what.

    `trace_parent` is the W3C traceparent of the request that caused the flow (trace id and span id). `causation_id`
    is the id of the message that directly caused this event; where it is None, that is the event before it in its
    stream. The order of the fields is the stored order: claims build it in SQL.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    correlation_id: str
    trace_parent: str
    causation_id: str | None = None
    actor: str
    authenticated: bool = True
    time: AwareDatetime
    on_behalf_of: str | None = None
    """For whom a technical identity says that it acts: what it says, not proved."""
    address: str | None = None
    """Where a request over the network came from."""
    request_id: str | None = None
    body_sha256: str | None = None
    body_length: int | None = None

    @property
    def trace_id(self) -> str:
        """The 32 hexadecimal digits that name the trace."""
        return self.trace_parent.split("-")[1]


class Event(NamedTuple):
    """An event about to be recorded: version `originator_version` of the stream `originator_id` of `tenant`."""

    originator_id: UUID
    originator_version: int
    tenant: str
    metadata: Metadata
    facts: Facts
    body: bytes | None = None

    @property
    def event_id(self) -> str:
        """Unique for ever and everywhere: `<stream>.<version>`."""
        return event_id(self.originator_id, self.originator_version)


class RecordedEvent(NamedTuple):
    """An event as the ledger returns it. `recorded_at` is the database's clock, `position` its global order.

    `body` is None where there is none, where it was removed, or where the reader did not ask for it.
    """

    originator_id: UUID
    originator_version: int
    tenant: str
    position: int
    recorded_at: datetime
    topic: str
    facts: Facts
    metadata: Metadata
    body: bytes | None = None

    @property
    def event_id(self) -> str:
        """Unique for ever and everywhere: `<stream>.<version>`."""
        return event_id(self.originator_id, self.originator_version)

    @property
    def causation_id(self) -> str | None:
        """What directly caused this event: what it names, else the event before it in its stream."""
        if self.metadata.causation_id is not None or self.originator_version == 1:
            return self.metadata.causation_id
        return event_id(self.originator_id, self.originator_version - 1)


def event_id(originator_id: UUID, originator_version: int) -> str:
    """The id of an event: message ids are event ids, never positions."""
    return f"{originator_id}.{originator_version}"
