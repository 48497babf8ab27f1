"""The example takes in what arrives, a batch at a time: no line of a batch, whatever it holds, keeps out the others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from examples.condominium.inbox import Inbox
from examples.condominium.intake import take_in
from examples.condominium.jobs import app
from jobledger import Ledger
from tests.support.cli import Cli

QUESTION: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/tenants/aurora/desk",
    "type": "com.condominium.question.asked",
    "time": "2026-03-02T11:00:00Z",
    "tenant": "aurora",
    "data": {"tenant_id": "aurora", "question_id": "Q-1", "question": "What is a heisenbug?"},
}
ODD: tuple[Any, ...] = (None, True, -1, 1e308, 10**30, "", "\ud800", "\x00", "x" * 5_000, [], {}, {"a": 1}, [[]])


@pytest.fixture
def ledger_url(tmp_path_factory: pytest.TempPathFactory, database: str) -> str:
    """A ledger that knows the example's job types and the tenant `aurora`."""
    cli = Cli(tmp_path_factory.mktemp("intake"), database)
    cli("tenants", "create", "aurora", "--reason", "a customer")
    cli("work", "--app", "examples.condominium:app", "--drain")
    return database


def odd_lines() -> list[bytes]:
    """The question with each odd value in each place, and lines that are no event at all."""
    events: list[dict[str, Any]] = []
    for odd in ODD:
        events += [{**QUESTION, name: odd} for name in QUESTION]
        events += [{**QUESTION, "data": {**QUESTION["data"], name: odd}} for name in QUESTION["data"]]
    return [json.dumps(event).encode() for event in events] + [b"\xff", b"[" * 100_000, b"null", b'{"id": NaN}']


def test_odd_lines_do_not_keep_out_good_ones(ledger_url: str) -> None:
    """Each odd line is refused with its number, or was not that odd; the good one after them becomes a job."""
    inbox = Inbox(app)
    good = {**QUESTION, "id": "good", "data": {**QUESTION["data"], "question_id": "Q-2"}}
    lines = [*odd_lines(), json.dumps(good).encode()]
    deliveries = [inbox.receive(line, number) for number, line in enumerate(lines, start=1)]
    with Ledger.open(ledger_url) as ledger:
        outcome = take_in(ledger, deliveries)
    assert len(lines) in outcome.jobs
    assert all(refused.line and refused.field and refused.rule for refused in outcome.refused)
    assert {refused.line for refused in outcome.refused}.isdisjoint(outcome.jobs)


def test_a_tenant_that_is_created_again_does_not_end_the_batch(ledger_url: str) -> None:
    """Another event may say again that a customer exists."""
    event = {
        **QUESTION,
        "type": "com.condominium.tenant.created",
        "data": {"tenant_id": "aurora", "name": "Aurora", "plan": "basic", "units": 12},
    }
    inbox = Inbox(app)
    deliveries = [
        inbox.receive(json.dumps(each).encode(), line)
        for line, each in enumerate((event, {**QUESTION, "id": "e-2"}), 1)
    ]
    with Ledger.open(ledger_url) as ledger:
        assert 2 in take_in(ledger, deliveries).jobs
