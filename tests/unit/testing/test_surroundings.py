"""What a ledger in memory has around it: secrets, transactions, limits."""

from __future__ import annotations

import sqlite3

import pytest

from jobledger import App, JobContext, Retry
from jobledger.testing import InMemoryLedger

from .shop import Order, World

ONCE = Retry.fixed(max_attempts=1, base_seconds=1)


@pytest.fixture
def bank(app: App) -> App:
    """The shop, with a job that needs a secret and one that writes to a database."""

    @app.job("order.sign", effects="none", timeout_seconds=60)
    def sign(context: JobContext, payload: Order) -> int:
        secret = context.secrets["signing-key"]
        context.log(f"signed with {secret}")
        return len(secret)

    @app.job("order.book", effects="transaction", timeout_seconds=60, retry=ONCE)
    def book(context: JobContext, payload: Order) -> None:
        with context.transaction() as connection:
            connection.execute("INSERT INTO booked VALUES (?)", (payload.order_id,))
        if payload.copies > 1:
            raise ValueError("only one copy can be booked")

    return app


@pytest.fixture
def database() -> sqlite3.Connection:
    """What a test gives as its database; a number may be booked once, which is checked at the commit."""
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA foreign_keys = on")
    connection.execute("CREATE TABLE allowed (id TEXT PRIMARY KEY)")
    connection.execute("CREATE TABLE booked (id TEXT REFERENCES allowed (id) DEFERRABLE INITIALLY DEFERRED)")
    connection.executemany("INSERT INTO allowed VALUES (?)", [("1",), ("2",)])
    connection.commit()
    return connection


def booked(database: sqlite3.Connection) -> list[str]:
    """What was committed."""
    database.rollback()
    return [order_id for (order_id,) in database.execute("SELECT id FROM booked ORDER BY id")]


def test_a_handler_gets_the_secrets_that_the_test_gave(bank: App) -> None:
    """By tenant, where they differ; and they stay out of what is recorded, as in production."""
    ledger = InMemoryLedger(bank, tenants=("acme", "other"), secrets={"signing-key": {"acme": "very-secret"}})
    for tenant in ("acme", "other"):
        ledger.dispatch("order.sign", {"order_id": "1"}, tenant=tenant)
    ledger.drain()
    signed = ledger.assert_completed(tenant="acme").only
    assert signed.result == len("very-secret")
    assert "very-secret" not in str(signed.log_lines)
    assert "[secret:signing-key]" in signed.log_lines[0]
    assert "the test gave no secret 'signing-key'" in ledger.assert_dead(tenant="other").only.errors[0]


def test_a_secret_for_every_tenant(bank: App) -> None:
    """A text alone is everybody's."""
    ledger = InMemoryLedger(bank, secrets={"signing-key": "very-secret"})
    ledger.dispatch("order.sign", {"order_id": "1"}, tenant="acme")
    ledger.drain()
    ledger.assert_completed()


def test_a_transaction_needs_a_connection_of_the_test(bank: App) -> None:
    """The failure says what to give."""
    ledger = InMemoryLedger(bank)
    ledger.dispatch("order.book", {"order_id": "1"}, tenant="acme")
    ledger.drain()
    dead = ledger.assert_dead(reason="unrecoverable").only
    assert dead.errors == ("TransactionUnavailable: a ledger in memory has no database for context.transaction()",)


def test_what_a_transaction_wrote_is_there_once_the_job_completed(bank: App, database: sqlite3.Connection) -> None:
    """And undone where it fails, where its worker dies, and where the commit itself is refused."""
    ledger = InMemoryLedger(bank, connect=lambda: database)
    completed = ledger.dispatch("order.book", {"order_id": "1"}, tenant="acme")
    failed = ledger.dispatch("order.book", {"order_id": "2", "copies": 2}, tenant="acme")
    refused = ledger.dispatch("order.book", {"order_id": "not allowed"}, tenant="acme")
    ledger.drain()
    ledger.assert_completed(completed)
    ledger.assert_dead(failed)
    assert "IntegrityError" in ledger.assert_dead(refused).only.errors[0]
    assert booked(database) == ["1"]


def test_a_worker_dies_with_its_transaction(bank: App, database: sqlite3.Connection) -> None:
    """The effect is there once, although the handler ran twice; so it is after a second delivery."""
    ledger = InMemoryLedger(bank, connect=lambda: database)
    ledger.crash_next("order.book")
    receipt = ledger.dispatch("order.book", {"order_id": "1"}, tenant="acme")
    ledger.drain()
    assert (ledger.events(receipt), booked(database)) == (["job.dispatched", "job.started"], [])
    ledger.drain(until_idle=True)
    ledger.assert_completed(receipt)
    ledger.assert_idempotent(receipt, effects=lambda: booked(database))
    assert booked(database) == ["1"]


def test_a_transaction_ends_with_the_hard_timeout(app: App, database: sqlite3.Connection) -> None:
    """What was written before it is undone."""

    @app.job("order.slow", effects="transaction", timeout_seconds=60, retry=ONCE)
    def slow(context: JobContext, payload: Order) -> None:
        with context.transaction() as connection:
            connection.execute("INSERT INTO booked VALUES ('1')")
            ledger.clock.advance(61)

    ledger = InMemoryLedger(app, connect=lambda: database)
    ledger.dispatch("order.slow", {"order_id": "1"}, tenant="acme")
    ledger.drain()
    assert "Timeout" in ledger.assert_dead().only.errors[0]
    assert booked(database) == []


def test_a_pause_holds_jobs_until_it_is_lifted(ledger: InMemoryLedger) -> None:
    """Others run; waiting brings nothing."""
    ledger.limits.pause(queue="billing", reason="the bank is closed")
    ledger.dispatch("order.charge", {"order_id": "1"}, tenant="acme")
    ledger.dispatch("order.pack", {"order_id": "1"}, tenant="acme")
    assert ledger.drain(until_idle=True) == 1
    with pytest.raises(AssertionError, match=r"a job is pending, not completed[\s\S]*queue billing is paused"):
        ledger.assert_completed(type="order.charge")
    ledger.limits.resume(queue="billing", reason="open")
    ledger.drain()
    ledger.assert_completed(type="order.charge")


def test_a_rate_spreads_jobs_over_time(ledger: InMemoryLedger, world: World) -> None:
    """What is due now runs at the rate; `until_idle` waits for the next token."""
    ledger.limits.set(tenant="acme", rate="2/60s", reason="a slow printer")
    for number in range(5):
        ledger.dispatch("order.pack", {"order_id": str(number)}, tenant="acme")
    start = ledger.clock.now()
    assert ledger.drain() == 2
    assert ledger.drain(until_idle=True) == 3
    assert world.ran == ["0", "1", "2", "3", "4"]
    assert 120 <= (ledger.clock.now() - start).total_seconds() < 130
