"""Lists say how current they are: also while an open transaction keeps readers from what is newer, and which one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from jobledger.application.ports import Freshness, HorizonHold, JobFilter, JobPage
from jobledger.domain.dlq import DlqFilter
from jobledger.infrastructure.cli import lists
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from jobledger.infrastructure.postgres.event_source import PostgresEventSource
from jobledger.infrastructure.postgres.job_views import PostgresJobViews
from jobledger.infrastructure.postgres.views import PostgresViewStore
from jobledger.infrastructure.shapes import jobs as shapes
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.runner import Runner
from tests.support.cli import Cli

from ..contract.support import new_job
from .test_projection_horizon import create_tenant

GIVE_UP_SECONDS = 30.0


class Lists:
    """An open ledger with its lists, and a login that holds a writing transaction open."""

    def __init__(self, ledger: PostgresLedger, dsn: str) -> None:
        self.ledger = ledger
        self.views = PostgresJobViews(ledger.connections, ledger.horizon)
        self.caller = psycopg.connect(dsn, application_name="billing")
        store, source = PostgresViewStore(ledger.connections), PostgresEventSource(ledger.connections, ledger.horizon)
        self.runner = Runner(store, source, ALL_PROJECTIONS)
        self.closing = (store, source, self.caller, ledger)

    def page(self) -> JobPage:
        """All jobs, after the lists took what can be read."""
        self.runner.run_until_current()
        return self.views.tenant_jobs("acme", JobFilter(), after=None, limit=9)

    def held(self) -> HorizonHold:
        """Look again and again, until the list says who keeps it back."""
        give_up_at = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < give_up_at:
            if (hold := self.page().freshness.hold) is not None:
                return hold
        raise TimeoutError("nobody is said to keep the list back")

    def released(self) -> JobPage:
        """The same until nobody does any more."""
        give_up_at = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < give_up_at:
            if (page := self.page()).freshness.hold is None:
                return page
        raise TimeoutError("somebody is still said to keep the list back")


@pytest.fixture
def lists_here(postgres_dsn: str) -> Iterator[Lists]:
    """A ledger with a tenant."""
    ledger = open_ledger(postgres_dsn)
    create_tenant(ledger)
    opened = Lists(ledger, postgres_dsn)
    yield opened
    for each in opened.closing:
        each.close()


def test_a_list_names_the_transaction_that_keeps_it_back(lists_here: Lists) -> None:
    """Since when, whose, and since when an event waits; afterwards the list shows everything and says nothing."""
    slow, quick = new_job(), new_job()
    lists_here.ledger.transaction_writer.dispatch(lists_here.caller, [slow])
    pid = lists_here.caller.info.backend_pid
    lists_here.ledger.writer.write([quick])
    hold = lists_here.held()
    assert (hold.pid, hold.application, hold.state) == (pid, "billing", "idle in transaction")
    assert hold.login == lists_here.caller.info.user
    assert hold.waiting_since is not None and hold.since <= hold.waiting_since
    assert hold.since + timedelta(seconds=hold.seconds) <= datetime.now(UTC) + timedelta(seconds=1)
    assert lists_here.page().rows == ()
    assert lists_here.views.dlq("acme", DlqFilter(), after=None, limit=9).freshness.hold is not None
    lists_here.caller.commit()
    page = lists_here.released()
    assert {row.job_id for row in page.rows} == {slow.event.originator_id, quick.event.originator_id}
    assert page.freshness.position >= page.freshness.head


def test_one_job_and_its_history_are_current_meanwhile(lists_here: Lists) -> None:
    """They are read from the stream, which no horizon hides."""
    lists_here.ledger.transaction_writer.dispatch(lists_here.caller, [new_job()])
    quick = new_job()
    lists_here.ledger.writer.write([quick])
    lists_here.held()
    (event,) = lists_here.ledger.reader.stream("acme", quick.event.originator_id)
    assert event.position > lists_here.page().freshness.head
    lists_here.caller.rollback()
    assert [row.job_id for row in lists_here.released().rows] == [quick.event.originator_id]


def test_a_transaction_that_only_reads_keeps_nobody_back(lists_here: Lists) -> None:
    """However long it is open: only those that appended have a floor."""
    lists_here.caller.execute("SELECT count(*) FROM jobledger.ledger")
    lists_here.ledger.writer.write([new_job()])
    with lists_here.ledger.connections.connect(None) as connection:
        assert connection.execute("SELECT * FROM ledger_horizon_hold()").fetchall() == []
    assert len(lists_here.page().rows) == 1


def test_what_a_login_may_not_see_is_left_out(lists_here: Lists, postgres_dsn: str) -> None:
    """Without the right to see others' sessions: the process, and since when the oldest event waits."""
    lists_here.ledger.transaction_writer.dispatch(lists_here.caller, [new_job()])
    lists_here.ledger.writer.write([new_job()])
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("REVOKE pg_read_all_stats FROM jobledger_writer")
        row = connection.execute("SELECT pid, began_at, waiting_since FROM jobledger.ledger_horizon_hold()").fetchone()
        connection.rollback()
    assert row is not None and row[:2] == (lists_here.caller.info.backend_pid, None) and row[2] is not None


def test_the_command_line_says_so(lists_here: Lists, postgres_dsn: str, tmp_path: Path) -> None:
    """`jobs list` warns below the list and in its JSON; `jobs show` shows what the list does not."""
    command = Cli(tmp_path, postgres_dsn, JOBLEDGER_TENANT="acme")
    lists_here.ledger.transaction_writer.dispatch(lists_here.caller, [new_job()])
    quick = new_job()
    lists_here.ledger.writer.write([quick])
    lists_here.held()
    said = command("jobs", "list").out
    assert "lists stand still since" in said and "billing" in said and "idle in transaction" in said
    assert "nothing is missing" not in said
    hold = command("jobs", "list", "--json").json["as_of"]["hold"]
    assert (hold["application"], hold["pid"]) == ("billing", lists_here.caller.info.backend_pid)
    assert command("jobs", "show", str(quick.event.originator_id), "--json").json["job"]["status"] == "pending"
    lists_here.caller.commit()
    assert "stand still" not in command("jobs", "list").out


def test_events_of_the_tenant_that_are_parked_are_counted(lists_here: Lists, postgres_dsn: str) -> None:
    """A list that may lack something says so; what is parked for another tenant, or behind an event, is not counted."""
    lists_here.page()
    with psycopg.connect(postgres_dsn) as connection:
        for number, (tenant, error) in enumerate([("acme", "it broke"), ("acme", None), ("globex", "it broke")]):
            connection.execute(
                "INSERT INTO jobledger.parked_events VALUES"
                " ('tenant_jobs', gen_random_uuid(), 1, %s, %s, 1, 'job.started', %s, now())",
                (f'["{number}"]', tenant, error),
            )
    fresh = lists_here.page().freshness
    assert (fresh.projection, fresh.parked) == ("tenant_jobs", 1)
    (warning,) = lists.freshness_warnings(fresh)
    assert warning.startswith("1 event is parked") and warning.endswith("jobledger projections parked tenant_jobs")
    assert shapes.freshness(fresh)["parked"] == 1


# --- words -----------------------------------------------------------------------------------------------------------

AT = datetime(2026, 3, 2, 10, 0, 3, tzinfo=UTC)
HOLD = HorizonHold(AT, 12.0, 4711, "psql", "anna", "idle in transaction", AT + timedelta(seconds=4))


@pytest.mark.parametrize(
    ("hold", "words"),
    [
        (HOLD, "a transaction of psql (login anna, pid 4711, idle in transaction)"),
        (HOLD._replace(application=None, login=None, state=None), "a transaction (pid 4711)"),
        (HOLD._replace(pid=None, application=None, login=None, state=None), "a prepared transaction has written"),
        (HOLD, "since 2026-03-02 10:00:03 UTC (12 s)"),
        (HOLD, "an event of 2026-03-02 10:00:07 waits for it"),
        (HOLD._replace(waiting_since=None), "nothing waits yet"),
    ],
)
def test_a_hold_is_told_with_what_is_known_of_it(hold: HorizonHold, words: str) -> None:
    """Who has to end what, and since when."""
    (warning,) = lists.freshness_warnings(Freshness(1, 1, AT, "tenant_jobs", 0, hold))
    assert words in warning
