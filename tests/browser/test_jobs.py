"""The list of a tenant's jobs."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from jobledger.domain.identity import Grant, Role
from jobledger.domain.job import JobStatus
from tests.support.console import ConsoleUnderTest, Visit

from .conftest import Open


@pytest.fixture(scope="module", autouse=True)
def _some_jobs(console: ConsoleUnderTest) -> None:
    personas = [None, "clerk"] * 30
    taken = [console.dispatch("note.take", str(number), persona=name) for number, name in enumerate(personas)]
    console.dead("first", "second")
    console.dispatch("note.take", delay_seconds=3_600)
    console.until(JobStatus.COMPLETED, *taken)


def test_filters_stand_in_the_address(console: ConsoleUnderTest, visit: Visit) -> None:
    """What is chosen in the form is in the address, alone; opened again, it shows the same jobs."""
    page = visit.page
    page.goto("/tenants/acme/jobs")
    page.get_by_label("Status").select_option("dlq")
    page.get_by_label("Type").fill("note.refuse")
    page.get_by_label("Last attempt failed").check()
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**/tenants/acme/jobs?status=dlq&type=note.refuse&failed=1")
    assert visit.texts("td[data-label=Status]") == ["Dead", "Dead"]
    assert page.get_by_label("Status").input_value() == "dlq"
    page.goto("/tenants/acme/jobs?persona=clerk&within=1h&queue=notes")
    assert len(visit.texts("tbody tr")) == 30 and set(visit.texts("td[data-label=Persona]")) == {"clerk"}
    page.goto("/tenants/acme/jobs?from=2026-01-01T00:00&to=2026-01-02T00:00")
    expect(page.get_by_text("No job is like that")).to_be_visible()
    page.get_by_role("link", name="Show all jobs").click()
    page.wait_for_url("**/tenants/acme/jobs")


def test_what_is_no_filter_is_told(console: ConsoleUnderTest, window: Open) -> None:
    """The page says what is wrong, and stays usable."""
    visit = window(console)
    page = visit.log_in()
    page.goto("/tenants/acme/jobs?from=yesterday")
    expect(page.get_by_role("alert")).to_contain_text("From: that is no time")
    expect(page.get_by_role("button", name="Filter")).to_be_visible()
    visit.complaints.clear()  # of the status 422


def test_pages_go_back_in_time(visit: Visit) -> None:
    """Fifty jobs a page, and none twice."""
    page = visit.page
    page.goto("/tenants/acme/jobs?status=completed")
    first = visit.texts("td[data-label=Job]")
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**cursor=*")
    second = visit.texts("td[data-label=Job]")
    assert (len(first), len(set(first) | set(second)), len(second)) == (50, 60, 10)
    expect(page.get_by_text("live", exact=True)).to_have_count(0)
    page.get_by_role("link", name="Newest", exact=True).click()
    page.wait_for_url("**/jobs?status=completed")


def test_a_new_job_appears_by_itself(console: ConsoleUnderTest, visit: Visit) -> None:
    """Without the page being loaded again, in front of the others; the row that has the focus keeps it."""
    page = visit.page
    page.goto("/tenants/acme/jobs?queue=notes&type=note.take")
    page.keyboard.press("j")
    page.keyboard.press("j")
    focused = page.locator(".row-link:focus").get_attribute("id")
    job_id = console.dispatch("note.take", "live")
    page.locator(f"#job-{job_id}").wait_for()
    assert page.locator("tbody tr").first.get_attribute("data-row") == str(job_id)
    expect(page.locator(f"tr[data-row='{job_id}'] .status")).to_have_text("Completed")
    expect(page.locator(f"[id='{focused}']")).to_be_focused()


def test_a_list_that_hears_nothing_says_so(console: ConsoleUnderTest, window: Open) -> None:
    """It does not claim to be up to date, and goes on once there is an answer."""
    visit = window(console)
    page = visit.log_in()
    page.goto("/tenants/acme/jobs")
    expect(page.locator(".live-words")).to_have_text("live")
    expect(page.locator(".fresh")).to_contain_text("up to date")
    page.route("**/live?*", lambda route: route.abort())
    expect(page.locator(".live-words")).to_contain_text("reconnecting: this is how it was")
    expect(page.locator(".fresh")).to_be_hidden()
    page.unroute("**/live?*")
    expect(page.locator(".live-words")).to_have_text("live")
    expect(page.locator(".fresh")).to_be_visible()
    visit.complaints.clear()  # of the requests that were cut


def test_the_list_can_be_used_by_keyboard(visit: Visit) -> None:
    """To the filter, through the rows, into one and back, and all keys are told."""
    page = visit.page
    page.goto("/tenants/acme/jobs?status=dlq")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.get_by_label("Status")).to_be_focused()
    page.keyboard.press("Escape")
    links = page.locator(".row-link")
    for key, row in (("j", 0), ("ArrowDown", 1), ("j", 1), ("k", 0), ("ArrowUp", 0)):
        page.keyboard.press(key)
        expect(links.nth(row)).to_be_focused()
    assert page.locator("tr:has(.row-link:focus)").evaluate("row => getComputedStyle(row).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/jobs/[0-9a-f-]{36}$"))
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.wait_for_url("**/tenants/acme/dlq")


def test_everything_is_reached_with_the_tab_key(page: Page) -> None:
    """The first stop skips the head; then come the head, the filter and the rows, each visibly focused."""
    page.goto("/tenants/acme/jobs?status=dlq")
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(
            "(() => { const e = document.activeElement; return e.textContent.trim() || e.name || e.id; })()"
        ))  # fmt: skip
        if page.locator(".row-link").last.evaluate("link => link === document.activeElement"):
            break
    assert seen[0] == "Skip to the content"
    for stop in ("jobledger", "Dead letters", "Log out", "type", "queue", "persona", "failed", "Filter", "note.refuse"):
        assert stop in seen, seen
    assert page.evaluate("getComputedStyle(document.activeElement.closest('tr')).outlineWidth") == "2px"


def test_a_job_is_opened_by_the_end_of_its_id(console: ConsoleUnderTest, page: Page) -> None:
    """As the list shows it."""
    job_id = console.dispatch("note.take", "found")
    console.until(JobStatus.COMPLETED, job_id)
    page.goto("/tenants/acme/jobs")
    page.get_by_label("Job id").fill(job_id.hex[-8:])
    page.get_by_role("button", name="Open").click()
    page.wait_for_url(f"**/tenants/acme/jobs/{job_id}")


def test_from_one_tenant_to_another(console: ConsoleUnderTest, visit: Visit) -> None:
    """The switch in the head keeps the part of the console; a tenant without jobs says how they come."""
    visit.page.goto("/tenants/acme/jobs")
    visit.page.get_by_label("Tenant").select_option("other")
    visit.page.wait_for_url("**/tenants/other/jobs")
    expect(visit.page.get_by_text("No jobs yet")).to_be_visible()


def test_a_key_of_one_tenant_sees_no_other(console: ConsoleUnderTest, window: Open) -> None:
    """Another tenant is as absent as one that is not there."""
    visit = window(console)
    page = visit.log_in(console.make_key(Grant(role=Role.OPERATOR, tenants=frozenset({"other"}))))
    page.goto("/")
    page.wait_for_url("**/tenants/other/jobs")
    assert page.get_by_label("Tenant").count() == 0
    answers = []
    for tenant in ("acme", "nobody"):
        response = page.goto(f"/tenants/{tenant}/jobs")
        assert response is not None
        answers.append((response.status, visit.texts("main h1, main p:not(.hint)")))
    assert answers[0] == answers[1] and answers[0][0] == 404
    visit.complaints.clear()  # of the status 404


def test_a_key_of_one_queue_sees_that_queue(console: ConsoleUnderTest, window: Open) -> None:
    """The filter offers what may be seen, and a job elsewhere is not there."""
    visit = window(console)
    grant = Grant(role=Role.OPERATOR, tenants=frozenset({"acme"}), queues=frozenset({"notes"}))
    page = visit.log_in(console.make_key(grant))
    page.goto("/tenants/acme/jobs")
    assert set(visit.texts("td[data-label=Queue]")) == {"notes"}
    (dead,) = console.dead("elsewhere")
    response = page.goto(f"/tenants/acme/jobs/{dead}")
    assert response is not None and response.status == 404
    visit.complaints.clear()  # of the status 404


def test_a_key_that_may_not_look_is_told(console: ConsoleUnderTest, window: Open) -> None:
    """Kindly, and not with a list of nothing."""
    visit = window(console)
    page = visit.log_in(console.make_key(Grant(role=Role.WORKER), technical=True))
    page.goto("/")
    expect(page.get_by_role("heading", name="No tenants")).to_be_visible()
