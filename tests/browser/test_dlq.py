"""The dead-letter queue, on each engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from jobledger.application.dlq_messages import DiscardDlq, DlqProgress, ListDlqActs
from jobledger.domain.identity import Grant, Role
from jobledger.domain.job import JobStatus
from jobledger.infrastructure.console.services import Doing
from jobledger.infrastructure.http.operations import OF_TENANT_MAX, Interrupted
from tests.support.console import ConsoleUnderTest, Visit

from .conftest import Open


@pytest.fixture
def visit(window: Open, each_console: ConsoleUnderTest) -> Visit:
    """A window of an administrator."""
    opened = window(each_console)
    opened.log_in()
    return opened


def test_the_dead_of_one_error_are_requeued_together(each_console: ConsoleUnderTest, visit: Visit) -> None:
    """They are one line with their number; requeued with a reason, once their number is confirmed, they run again."""
    torn = each_console.dead("a", "b", "c", job_type="note.tear")
    refused = each_console.dead("d")
    page = visit.page
    page.goto("/tenants/acme/dlq")
    assert visit.texts("td.count") == ["3", "1"]
    assert "4 jobs of 2 errors" in page.locator(".head .sub").inner_text()
    assert "torn: a" in visit.texts("tbody tr")[0] and "note.refuse" in visit.texts("tbody tr")[1]
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.get_by_text("Requeue them all").click()
    form = page.locator("#act-requeue")
    form.get_by_label("Reason").fill("mended")
    form.get_by_label("How many jobs?").fill("3")
    page.get_by_role("button", name="Requeue 3 jobs").click()
    expect(page.locator(".notice")).to_have_text("3 jobs were requeued.")
    assert all("job.requeued" in each_console.topics(job_id) for job_id in torn)
    assert "job.requeued" not in each_console.topics(refused[0])
    (act,) = each_console.ask(ListDlqActs, tenant="acme")
    assert (act.actor, act.begun.reason, act.begun.confirmed) == ("key:admin", "mended", 3)
    page.get_by_role("link", name="Dead letters").last.click()
    page.get_by_role("link", name="Requeued").click()
    expect(page.locator(".facts")).to_contain_text("mended")
    each_console.until(JobStatus.DLQ, *torn)


def test_their_number_has_to_be_confirmed(each_console: ConsoleUnderTest, window: Open) -> None:
    """Another number than the page showed: nothing is done, and what was entered is still there."""
    (job_id,) = each_console.dead("alone", tenant="other")
    visit = window(each_console)
    page = visit.log_in()
    page.goto("/tenants/other/dlq")
    page.locator(".row-link").first.click()
    page.get_by_text("Discard it").click()
    form = page.locator("#act-discard")
    form.get_by_label("Reason").fill("hopeless")
    form.get_by_label("How many jobs?").fill("2")
    page.get_by_role("button", name="Discard 1 job").click()
    expect(page.get_by_role("alert")).to_contain_text("type the number of jobs, 1, to confirm")
    expect(page.locator("#act-discard").get_by_label("Reason")).to_have_value("hopeless")
    assert each_console.job(job_id, "other").status is JobStatus.DLQ
    page.locator("#act-discard").get_by_label("How many jobs?").fill("1")
    page.get_by_role("button", name="Discard 1 job").click()
    expect(page.locator(".notice")).to_have_text("1 job was discarded.")
    page.get_by_role("navigation", name="Where you are").get_by_role("link").click()
    expect(page.get_by_role("heading", name="No dead jobs")).to_be_visible()
    assert each_console.job(job_id, "other").status is JobStatus.DISCARDED
    visit.complaints.clear()  # of the status 422


def test_more_than_were_shown_are_not_touched(each_console: ConsoleUnderTest, window: Open) -> None:
    """A number that somebody wrote into the form himself is not taken for that of the page."""
    (job_id,) = each_console.dead("e")
    visit = window(each_console)
    page = visit.log_in()
    page.goto("/tenants/acme/dlq?type=note.refuse")
    link = page.locator(".row-link").first.get_attribute("href")
    assert link is not None and "type=note.refuse" in link
    cookies = {cookie["name"]: cookie["value"] for cookie in visit.context.cookies()}
    each_console.dead("f", "g")
    place = f"{each_console.url}{link.replace('/error?', '/error/discard?')}"
    sent = {"reason": "x", "count": "1", "confirm": "1"}
    answered = httpx.post(place, data=sent, cookies=cookies, headers={"Origin": each_console.url})
    assert answered.status_code == 409
    assert each_console.job(job_id).status is JobStatus.DLQ


def test_an_act_goes_on_without_its_page(each_console: ConsoleUnderTest, window: Open) -> None:
    """The page of an act shows how far it is, also when loaded again, and ends by itself; any server has it, also one
    that was started since: it is on record."""
    each_console.dead("g", "h", "i", tenant="other", job_type="note.tear")
    visit = window(each_console)
    page = visit.log_in()
    with _under_way(each_console, "other", confirmed=3) as going:
        page.goto(f"/tenants/other/dlq/acts/{going.event_id}")
        expect(page.get_by_role("heading", name="Discarding 3 dead jobs")).to_be_visible()
        expect(page.get_by_role("progressbar")).to_have_attribute("max", "3")
        page.reload()
        expect(page.get_by_text("This goes on when you leave the page.")).to_be_visible()
        page.goto("/tenants/other/dlq")
        page.get_by_role("link", name="Discarding").click()
        expect(page.locator("[data-live]")).to_have_count(1)
        going.let_go()
        expect(page.locator(".notice")).to_have_text("3 jobs were discarded.")
    expect(page.locator("[data-live]")).to_have_count(0)


def test_an_act_that_broke_off_says_so(each_console: ConsoleUnderTest, visit: Visit) -> None:
    """What was done stays done; for the rest somebody begins again."""
    each_console.dead("j", tenant="other", job_type="note.tear")
    with _under_way(each_console, "other", confirmed=1) as going:
        going.break_off()
    visit.page.goto(f"/tenants/other/dlq/acts/{going.event_id}")
    expect(visit.page.get_by_role("alert")).to_contain_text(
        "Nobody goes on with it. Its server was stopped after 1 of 1"
    )


class _Act:
    """An act that somebody else is at, held after its first batch."""

    def __init__(self) -> None:
        self.known: Future[str] = Future()
        self._end: Future[bool] = Future()

    @property
    def event_id(self) -> str:
        """Its id."""
        return self.known.result(20)

    def let_go(self) -> None:
        """Let it go on to its end."""
        self._end.set_result(True)

    def break_off(self) -> None:
        """Stop it."""
        self._end.set_result(False)

    def progress(self, _far: DlqProgress) -> None:
        """Waits."""
        if not self._end.result(20):
            raise Interrupted


@contextmanager
def _under_way(console: ConsoleUnderTest, tenant: str, *, confirmed: int) -> Iterator[_Act]:
    """The dead of a tenant are being discarded, not by the server that is looked at; it has ended after the block."""
    act = _Act()

    def work() -> None:
        with suppress(Interrupted):
            console.ask(
                DiscardDlq, tenant=tenant, confirmed=confirmed, reason="x", begun=act.known.set_result,
                progress=act.progress,
            )  # fmt: skip

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield act
    finally:
        thread.join(20)


def test_too_many_acts_at_a_time_are_refused(each_console: ConsoleUnderTest, window: Open) -> None:
    """Nothing is done, and what was entered is still there."""
    (job_id,) = each_console.dead("k", tenant="other", job_type="note.tear")
    gate = threading.Event()
    busy = [
        each_console.server.operations.start(
            "test", tenant="other", actor="a test", reason="x", total=1, work=_held_by(gate, number), request_id=None
        )
        for number in range(OF_TENANT_MAX)
    ]
    visit = window(each_console)
    page = visit.log_in()
    page.goto("/tenants/other/dlq")
    page.locator(".row-link").first.click()
    page.get_by_text("Discard it").click()
    form = page.locator("#act-discard")
    form.get_by_label("Reason").fill("hopeless")
    form.get_by_label("How many jobs?").fill("1")
    page.get_by_role("button", name="Discard 1 job").click()
    said = f"{len(busy)} operations of this tenant go on at this server. Nothing was done."
    expect(page.get_by_role("alert")).to_contain_text(said)
    expect(page.locator("#act-discard").get_by_label("Reason")).to_have_value("hopeless")
    gate.set()
    assert each_console.job(job_id, "other").status is JobStatus.DLQ
    visit.complaints.clear()  # of the status 429


def _held_by(gate: threading.Event, number: int) -> Callable[[Doing], dict[str, Any]]:
    def work(operation: Doing) -> dict[str, Any]:
        operation.known_as(f"held {number}")
        gate.wait(20)
        return {}

    return work


def test_an_operator_may_discard_and_not_requeue(each_console: ConsoleUnderTest, window: Open) -> None:
    """What a key may not do is named, and refused."""
    each_console.dead("h")
    visit = window(each_console)
    page = visit.log_in(each_console.make_key(Grant(role=Role.OPERATOR, tenants=frozenset({"acme"}))))
    page.goto("/tenants/acme/dlq")
    page.locator(".row-link").first.click()
    assert visit.texts(".refused code") == ["dlq.requeue"]
    expect(page.get_by_text("Discard", exact=False).first).to_be_visible()


def test_an_empty_queue_is_good_news(visit: Visit) -> None:
    """And with a filter, nobody is like that."""
    visit.page.goto("/tenants/acme/dlq?type=note.none")
    expect(visit.page.get_by_text("No dead job is like that")).to_be_visible()
