"""`make demo`: the example runs to its end on both engines, and leaves behind what it says."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from examples.condominium import catalog
from examples.condominium.events import generate
from examples.condominium.flaws import COUNTS, Kind
from examples.condominium.provider import Mood, mood_of
from jobledger.domain.refusal import DispatchRefused
from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.postgres.embedded import EmbeddedPostgres
from jobledger.infrastructure.settings import load
from tests.support.cli import Cli
from tests.support.repository import ROOT

SEED = 7
DEMO = Path("var/demo")
URLS = {"sqlite": f"sqlite:///{DEMO}/jobledger.db", "postgres": f"embedded-postgres:///{DEMO}/postgres"}

# Two demos run before the first of these tests.
pytestmark = pytest.mark.timeout(420)


class Ran(NamedTuple):
    """A demo that has ended."""

    directory: Path
    url: str
    code: int
    screen: str

    @property
    def cli(self) -> Cli:
        """The command line, where the demo was run."""
        return Cli(self.directory, self.url)


def demo(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the demo in a directory, to its end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JOBLEDGER_")}
    # A program's own settings must not lead the demo astray.
    wrong = {"JOBLEDGER_DATABASE": "sqlite:///elsewhere.db", "JOBLEDGER_QUEUES": "nothing", "JOBLEDGER_TENANT": "x"}
    return subprocess.run(
        [sys.executable, "-m", "examples.condominium", "--seed", str(SEED), *options], cwd=directory,
        env={**kept, **wrong, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """The demo on each engine, in a folder where an earlier one left something."""
    directory = tmp_path_factory.mktemp(f"demo-{request.param}")
    (directory / DEMO / "files").mkdir(parents=True)
    (directory / DEMO / "files" / "left-behind.pdf").write_text("old")
    (directory / DEMO / "jobledger.db").write_text("no database")
    ended = demo(directory, *(["--postgres"] if request.param == "postgres" else []))
    found = Ran(directory, URLS[request.param], ended.returncode, ended.stdout + ended.stderr)
    if request.param == "sqlite":
        yield found
        return
    server = EmbeddedPostgres(directory / DEMO / "postgres")
    with server:  # held, so that it is not started for each command
        yield found
    server.destroy()


def jobs_of(ran: Ran, *words: str) -> list[dict[str, Any]]:
    """The jobs that the command line lists, of all tenants."""
    found: list[dict[str, Any]] = []
    for tenant in catalog.TENANTS:
        found += ran.cli("jobs", "list", "--tenant", tenant.slug, "--limit", "500", "--json", *words).json["jobs"]
    return found


def good_events() -> list[dict[str, Any]]:
    return [json.loads(line.text) for line in generate(SEED) if line.kind is Kind.GOOD]


def payments_in(*moods: Mood) -> list[str]:
    """The payments of the story that the provider treats so."""
    ids = [event["data"]["payment_id"] for event in good_events() if event["type"].endswith("payment.requested")]
    return [payment for payment in ids if mood_of(SEED, payment) in moods]


def test_it_tells_the_whole_story(ran: Ran) -> None:
    """The demo ends by itself, without colours off a terminal, and says what to try next."""
    assert ran.code == 0, ran.screen
    assert "\x1b" not in ran.screen
    assert "Try next" in ran.screen
    assert "Traceback" not in ran.screen
    assert not (ran.directory / DEMO / "files" / "left-behind.pdf").exists()


def test_every_good_event_became_a_job_that_ended(ran: Ran) -> None:
    """The lists hold one job for each good event; all are done but those that the story lets die."""
    statuses = Counter(job["status"] for job in jobs_of(ran))
    dead = len(payments_in(Mood.OUT, Mood.BROKE, Mood.WRONG)) + 1  # and a room that two families wanted
    assert statuses == {"completed": len(good_events()) - dead, "dlq": dead}


def test_dead_letters_say_why(ran: Ran) -> None:
    """A provider that stays down exhausts the attempts; what can never succeed is not tried again."""
    cli, found = ran.cli, list[dict[str, Any]]()
    for tenant in catalog.TENANTS:
        found += cli("dlq", "list", "--tenant", tenant.slug, "--json").json["jobs"]
    reasons = Counter(job["reason"] for job in found)
    final = len(payments_in(Mood.BROKE, Mood.WRONG)) + 1
    assert reasons == {"attempts_exhausted": len(payments_in(Mood.OUT)), "unrecoverable": final}


def test_a_persona_has_its_own_list(ran: Ran) -> None:
    """The janitor's jobs are the purges, one a tenant."""
    listed = jobs_of(ran, "--persona", catalog.JANITOR_BOT)
    assert {job["persona"] for job in listed} == {catalog.JANITOR_BOT}
    assert Counter(job["type"] for job in listed) == {"document.purge_expired": len(catalog.TENANTS)}


def test_the_history_says_why_a_payment_was_retried(ran: Ran) -> None:
    """A payment met a provider that was down: each failure is followed by the decision to try again."""
    down = payments_in(Mood.DOWN)[0]
    tenant = down.removeprefix("PAY-")[:-4]
    listed = ran.cli("jobs", "list", "--tenant", tenant, "--type", "payment.capture", "--json", "--limit", "500")
    histories = [
        ran.cli("jobs", "history", job["job_id"], "--tenant", tenant, "--json").json["events"]
        for job in listed.json["jobs"]
        if job["attempts_counted"] > 1
    ]
    told = next(events for events in histories if events[0]["facts"]["idempotency_key"] == down)
    topics = [event["topic"].removeprefix("job.") for event in told]
    failures = topics.count("failed")  # on a busy machine a timeout may come on top of the two
    again = ["started", "failed", "retried"] * failures
    assert topics == ["dispatched", *again, "started", "step_recorded", "completed"]
    messages = [event["facts"]["message"] for event in told if event["topic"] == "job.failed"]
    assert messages.count("the payment provider answers 503: the service is being restarted") == 2


def test_each_refused_line_is_known_by_its_number_and_stands_in_the_ledger(ran: Ran) -> None:
    """What was refused is exactly what is bad in the input; file and ledger agree on line, field and rule."""
    quiet = {Kind.GOOD, Kind.DUPLICATE_EVENT, Kind.DUPLICATE_KEY}
    bad = [number for number, line in enumerate(generate(SEED), start=1) if line.kind not in quiet]
    kept = [json.loads(line) for line in (ran.directory / DEMO / "refused.jsonl").read_text().splitlines()]
    assert [refused["line"] for refused in kept] == bad
    recorded = [facts for facts in refusals_in(ran) if facts.line is not None]
    assert sorted((facts.line, facts.field, facts.rule or facts.code) for facts in recorded) == [
        (refused["line"], refused["field"], refused["rule"]) for refused in kept
    ]
    assert f"{COUNTS[Kind.DUPLICATE_EVENT]} events came twice and {COUNTS[Kind.DUPLICATE_KEY]} payments" in ran.screen


def refusals_in(ran: Ran) -> list[DispatchRefused]:
    """The refused dispatches that the ledger holds."""
    engine, path = ran.url.split(":///")
    handle = open_ledger(load(database=f"{engine}:///{ran.directory / path}"))
    try:
        events = handle.ports.reader.read_after(0, limit=10_000, topics=frozenset({DispatchRefused.topic})).events
    finally:
        handle.close()
    return [event.facts for event in events if isinstance(event.facts, DispatchRefused)]


def test_the_jobs_left_their_files(ran: Ran) -> None:
    """Each invoice and each receipt is a PDF in its tenant's folder."""
    types = Counter(event["type"].removeprefix("com.condominium.") for event in good_events())
    for folder, expected in (("invoices", types["invoice.issued"]), ("receipts", types["invoice.paid"])):
        made = list((ran.directory / DEMO / "files" / folder).glob("*/*.pdf"))
        assert len(made) == expected
        assert all(path.read_bytes().startswith(b"%PDF-") for path in made)


def test_the_question_is_answered_from_the_right_book(ran: Ran) -> None:
    """The screen quotes the law about railings on roofs."""
    assert "thou shalt make a battlement for thy roof" in " ".join(ran.screen.split())


def test_the_commands_it_prints_can_be_pasted(ran: Ran) -> None:
    """What stands under "Try next" runs line by line; afterwards the repaired booking is done."""
    before = Counter(job["status"] for job in jobs_of(ran))
    printed = ran.screen.split("Try next", 1)[1].splitlines()[1:]
    script = "\n".join(line for line in printed if line and not line.startswith("#"))
    assert "dlq requeue" in script
    pasted = subprocess.run(
        ["bash", "-e", "-c", script], cwd=ran.directory, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert pasted.returncode == 0, pasted.stdout + pasted.stderr
    after = Counter(job["status"] for job in jobs_of(ran))
    assert after == {"completed": before["completed"] + 2, "dlq": before["dlq"] - 1}


def test_two_demos_do_not_take_each_others_ledger_away(tmp_path: Path) -> None:
    """While one runs, another one ends at once and says why."""
    (tmp_path / DEMO).mkdir(parents=True)
    (tmp_path / DEMO / "jobledger.db").write_text("in use")
    with (tmp_path / DEMO / "demo.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = demo(tmp_path)
    assert ended.returncode == 1
    assert "another demo is running in var/demo" in ended.stdout
    assert (tmp_path / DEMO / "jobledger.db").read_text() == "in use"
