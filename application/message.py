"""What commands and queries have in common: who asks, and within which flow."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

R = TypeVar("R")

TraceParent = Annotated[str, Field(pattern=r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")]
"""A W3C traceparent, version 00."""

NO_NUL = r"^[^\x00]*$"
"""Text that every database and encoding can hold: no NUL and, by way of being a pattern, no lone surrogate."""

CorrelationId = Annotated[str, Field(pattern=NO_NUL, min_length=1, max_length=200)]
CausationId = CorrelationId
ShortId = Annotated[str, Field(pattern=r"^[0-9a-fA-F-]{8,36}$")]
JobReference = Annotated[UUID | ShortId, Field(union_mode="left_to_right")]
"""A job id, or (at least) its last eight characters."""


class Actor(BaseModel):
    """Who does it: a technical identity (service, worker) or a person. Never a user's session."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=NO_NUL, min_length=1, max_length=200)]
    authenticated: bool = True
    on_behalf_of: Annotated[str, Field(pattern=NO_NUL, min_length=1, max_length=200)] | None = None
    """For whom it says that it acts: recorded, not proved."""
    address: Annotated[str, Field(pattern=NO_NUL, max_length=100)] | None = None
    """Where its request came from, where that came over a network."""
    request_id: Annotated[str, Field(pattern=NO_NUL, max_length=100)] | None = None


class Message(BaseModel, Generic[R]):
    """A command or a query; `R` is what it answers when it is accepted.

    `correlation_id` and `trace_parent` (W3C) say which flow it is part of; what is absent is made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    actor: Actor
    correlation_id: CorrelationId | None = None
    trace_parent: TraceParent | None = None


class Command(Message[R], Generic[R]):
    """Changes something. `causation_id` is the id of the message that caused it."""

    causation_id: CausationId | None = None


class Query(Message[R], Generic[R]):
    """Reads something. With `after` (a position that a command returned) it waits, `timeout_seconds` at most, until
    what it reads has reached that position."""

    after: str | None = None
    timeout_seconds: Annotated[float, Field(ge=0, le=60)] = 5.0
