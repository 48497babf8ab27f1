"""Tenants: created once, suspended and resumed with a reason; the installation's own is protected."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from jobledger.domain import tenant as tenants
from jobledger.domain.errors import IllegalTransition, InvalidInput, ProtectedTenant, ReasonRequired
from jobledger.domain.event import Facts
from jobledger.domain.tenant import TenantCreated, TenantResumed, TenantState, TenantStatus, TenantSuspended, evolve
from tests.support.given import dispatched

ACTIVE = TenantState("acme", TenantStatus.ACTIVE, "Acme Ltd.")
SUSPENDED = ACTIVE._replace(status=TenantStatus.SUSPENDED)


def test_a_tenant_is_created() -> None:
    """Active from the start, with what people call it."""
    (event,) = tenants.create(None, name="acme", display_name="Acme Ltd.", reason="signed")
    assert event == TenantCreated(name="acme", display_name="Acme Ltd.", reason="signed")
    assert evolve(None, event) == ACTIVE


def test_a_name_is_taken_once_and_for_all() -> None:
    """By a suspended tenant too."""
    for state in (ACTIVE, SUSPENDED):
        with pytest.raises(IllegalTransition, match="exists already"):
            tenants.create(state, name="acme")


def test_suspending_and_resuming() -> None:
    """There and back again; the name people use stays."""
    (suspended,) = tenants.suspend(ACTIVE, reason="unpaid")
    assert suspended == TenantSuspended(name="acme", reason="unpaid")
    assert evolve(ACTIVE, suspended) == SUSPENDED
    (resumed,) = tenants.resume(SUSPENDED, reason="paid")
    assert resumed == TenantResumed(name="acme", reason="paid")
    assert evolve(SUSPENDED, resumed) == ACTIVE


@pytest.mark.parametrize(("act", "state"), [(tenants.suspend, SUSPENDED), (tenants.resume, ACTIVE)])
def test_what_is_so_already_is_refused(act: Callable[..., tuple[Facts, ...]], state: TenantState) -> None:
    """The refusal names both statuses."""
    with pytest.raises(IllegalTransition) as caught:
        act(state, reason="again")
    assert caught.value.status == state.status


@pytest.mark.parametrize(("act", "state"), [(tenants.suspend, ACTIVE), (tenants.resume, SUSPENDED)])
def test_a_reason_is_required(act: Callable[..., tuple[Facts, ...]], state: TenantState) -> None:
    """Manual acts carry one (R4.13)."""
    with pytest.raises(ReasonRequired):
        act(state, reason="  ")


def test_the_installations_own_tenant_is_protected() -> None:
    """`system` is neither created nor suspended."""
    with pytest.raises(ProtectedTenant):
        tenants.create(None, name="system")
    with pytest.raises(ProtectedTenant):
        tenants.suspend(TenantState("system", TenantStatus.ACTIVE), reason="no")


@pytest.mark.parametrize("name", ["", "Acme", "-acme", "a b", "a.b", "x" * 64, "../etc", "ação"])
def test_a_bad_name_is_refused(name: str) -> None:
    """Lower case, digits, `-` and `_`, at most 63 characters: it is used in URLs and commands."""
    with pytest.raises(ValidationError):
        TenantCreated(name=name)


def test_events_of_other_streams_do_not_belong_to_a_tenant() -> None:
    """Nor does a suspension before the creation."""
    with pytest.raises(InvalidInput):
        evolve(ACTIVE, dispatched())
    with pytest.raises(InvalidInput):
        evolve(None, TenantSuspended(name="acme", reason="unpaid"))
