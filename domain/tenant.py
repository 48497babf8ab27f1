"""What a tenant is: the customer a job belongs to. A stream each; nothing runs without one."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, NamedTuple

from pydantic import Field

from .errors import IllegalTransition, InvalidInput, ProtectedTenant, ReasonRequired, TenantExists
from .event import Facts
from .identifiers import SYSTEM_TENANT

TenantName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""A tenant's name is its id: lower case, digits, `-` and `_`, at most 63 characters."""


class TenantStatus(StrEnum):
    """Whether jobs are taken and run for the tenant."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


class TenantCreated(Facts):
    """A tenant came to be."""

    topic: ClassVar[str] = "tenant.created"

    name: TenantName
    display_name: str = ""
    reason: str = ""


class TenantSuspended(Facts):
    """Nothing is dispatched or run for the tenant until it is resumed."""

    topic: ClassVar[str] = "tenant.suspended"

    name: TenantName
    reason: str


class TenantResumed(Facts):
    """The tenant works again."""

    topic: ClassVar[str] = "tenant.resumed"

    name: TenantName
    reason: str


class TenantState(NamedTuple):
    """A tenant's name, status, and what people call it."""

    name: str
    status: TenantStatus
    display_name: str = ""


def evolve(state: TenantState | None, facts: Facts) -> TenantState:
    """The state after an event of the tenant's stream."""
    match facts:
        case TenantCreated():
            return TenantState(facts.name, TenantStatus.ACTIVE, facts.display_name)
        case TenantSuspended() if state is not None:
            return state._replace(status=TenantStatus.SUSPENDED)
        case TenantResumed() if state is not None:
            return state._replace(status=TenantStatus.ACTIVE)
        case _:
            raise InvalidInput(f"{facts.topic} does not fit the tenant's stream", field="topic")


def create(state: TenantState | None, *, name: str, display_name: str = "", reason: str = "") -> tuple[Facts, ...]:
    """Create a tenant; a name is taken once and for all."""
    if name == SYSTEM_TENANT:
        raise ProtectedTenant(f"{SYSTEM_TENANT!r} is the installation's own tenant", field="name", rule="is reserved")
    if state is not None:
        raise TenantExists(name, state.status)
    return (TenantCreated(name=name, display_name=display_name, reason=reason),)


def suspend(state: TenantState, *, reason: str) -> tuple[Facts, ...]:
    """Stop taking and running jobs for the tenant."""
    return _switch(state, TenantStatus.ACTIVE, TenantSuspended, "suspending a tenant", reason)


def resume(state: TenantState, *, reason: str) -> tuple[Facts, ...]:
    """Take and run jobs for the tenant again."""
    return _switch(state, TenantStatus.SUSPENDED, TenantResumed, "resuming a tenant", reason)


def _switch(
    state: TenantState,
    required: TenantStatus,
    event: type[TenantSuspended] | type[TenantResumed],
    act: str,
    reason: str,
) -> tuple[Facts, ...]:
    if state.name == SYSTEM_TENANT:
        raise ProtectedTenant(f"{SYSTEM_TENANT!r} is the installation's own tenant", field="name", rule="is reserved")
    if not reason.strip():
        raise ReasonRequired(act)
    if state.status is not required:
        raise IllegalTransition(state.status, event.topic.removeprefix("tenant."), what="tenant")
    return (event(name=state.name, reason=reason),)
