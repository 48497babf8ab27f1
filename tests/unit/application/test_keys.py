"""Keys in Python, and what becomes of their uses while the ledger is away."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from jobledger import App
from jobledger.application.commands import DispatchJob
from jobledger.application.key_messages import CreateKey
from jobledger.application.key_ports import KeyUse
from jobledger.application.key_uses import STORE_SECONDS, KeyUses, KeyUseThread
from jobledger.domain.api_key import KeyStatus
from jobledger.domain.errors import InvalidInput, LedgerUnavailable, ReasonRequired
from jobledger.domain.identity import Grant, Role
from jobledger.testing import InMemoryLedger
from tests.support.use_cases import StillClock, UseCases, item


def test_keys_are_managed_in_python() -> None:
    """What the command line does, a program does with the ledger's client."""
    ledger = InMemoryLedger(App("office"))
    now = ledger.clock.now()
    grant = Grant(role=Role.EMITTER, tenants=frozenset({"acme"}))
    made = ledger.keys.create("mailer", grant, reason="OPS-112", expires_at=now + timedelta(days=90))
    assert made.credential.startswith(f"jl_{made.key.key_id}.") and made.credential not in repr(made)
    again = ledger.keys.rotate(
        made.key.key_id, reason="quarterly", expires_at=now + timedelta(days=180), previous_expires_at=now
    )
    assert again.credential != made.credential
    person = ledger.keys.create("ana", Grant(role=Role.ADMIN), reason="on duty", technical=False)
    assert {view.key.name: view.key.technical for view in ledger.keys.list()} == {"mailer": True, "ana": False}
    with pytest.raises(ReasonRequired):
        ledger.keys.revoke(person.key.key_id, reason="")
    assert ledger.keys.revoke(person.key.key_id, reason="left").key.status(now) is KeyStatus.REVOKED
    assert ledger.keys.get(person.key.key_id).key.revoked


def test_a_key_stands_in_no_payload() -> None:
    """Like any other secret: the dispatch is refused, and the key is not repeated."""
    cases = UseCases()
    issued = cases.ask(CreateKey, key_name="mailer", grants=(Grant(role=Role.EMITTER),), reason="r")
    payload = {"invoice_id": "1", "note": f"use {issued.credential}!"}
    refused = cases.refused(InvalidInput, DispatchJob, item=item(payload=payload))
    assert refused.field == "payload.note" and "secret" in refused.message
    assert issued.credential not in str(refused)


class Register:
    """A register that is away when a test says so."""

    def __init__(self) -> None:
        self.away = False
        self.recorded: list[KeyUse] = []

    def key_ids(self, *, after: str = "", limit: int) -> list[str]:
        """None."""
        return []

    def uses(self, key_ids: Sequence[str]) -> dict[str, KeyUse]:
        """None."""
        return {}

    def record_uses(self, uses: Sequence[KeyUse]) -> None:
        """Remember them."""
        if self.away:
            raise LedgerUnavailable("the disk is full")
        self.recorded += uses


def test_uses_wait_for_a_ledger_that_is_away() -> None:
    """What could not be stored is stored later, the latest of each key; what came in between is not lost either."""
    clock, register = StillClock(), Register()
    uses, began = KeyUses(register, clock), clock.now()
    register.away = True
    uses.note("one", None)
    uses.note("two", None)
    with pytest.raises(LedgerUnavailable):
        uses.store()
    clock.advance(1)
    uses.note("one", "192.0.2.7")
    register.away = False
    assert uses.store() == 2
    later = began + timedelta(seconds=1)
    assert register.recorded == [KeyUse("one", later, "192.0.2.7"), KeyUse("two", began, None)]
    uses.note("one", None)
    assert uses.store() == 0, "stored a moment ago"
    clock.advance(STORE_SECONDS)
    assert uses.store() == 1


def test_closing_is_no_failure_where_the_ledger_is_away() -> None:
    """A server ends in order, whatever becomes of the last uses."""
    register = Register()
    register.away = True
    uses = KeyUses(register, StillClock())
    uses.note("one", None)
    thread = KeyUseThread(uses)
    thread.start()
    thread.close()
    assert register.recorded == []
