"""Pages that are told what happens: one stream of events for each that is seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from jobledger.domain.identity import Grant, Role
from jobledger.domain.job import JobStatus
from jobledger.infrastructure.console.sessions import COOKIE
from jobledger.infrastructure.web import Place, serving
from tests.support.console import ConsoleUnderTest, console_under_test
from tests.support.waiting import until

from .conftest import Open

_NO_POLL = "window.setInterval = () => 0;"
_STREAMS_MAX = 2


@pytest.fixture(scope="module")
def console(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleUnderTest]:
    """A console whose logins outlive its server, with few streams of each identity."""
    database = f"sqlite:///{tmp_path_factory.mktemp('live')}/ledger.db"
    with console_under_test(database, signing_key="s" * 32, http_streams_max=_STREAMS_MAX) as console:
        yield console


@pytest.fixture
def page(window: Open, console: ConsoleUnderTest) -> Page:
    """Of somebody who is logged in; it never looks by itself."""
    visit = window(console)
    visit.context.add_init_script(_NO_POLL)
    return visit.log_in(console.make_key(Grant(role=Role.ADMIN)))


def test_a_job_that_another_client_dispatched_is_shown_at_once(console: ConsoleUnderTest, page: Page) -> None:
    """In the list, with what becomes of it, and on the page of the job: nothing polls, nothing is loaded again."""
    page.goto("/tenants/acme/jobs?type=note.take")
    expect(page.get_by_text("No job is like that")).to_be_visible()
    job_id = console.dispatch("note.take", "told", delay_seconds=3_600)
    expect(page.locator(f"tr[data-row='{job_id}'] .status")).to_have_text("Delayed")
    later = console.dispatch("note.take", "told later")
    expect(page.locator(f"tr[data-row='{later}'] .status")).to_have_text("Completed")
    page.locator(f"#job-{job_id}").click()
    expect(page.locator(".job-head .status")).to_have_text("Delayed")
    with httpx.Client(base_url=console.url, headers={"Authorization": f"Bearer {console.key}"}) as client:
        answered = client.post(f"/v1/tenants/acme/jobs/{job_id}/cancel", json={"reason": "told"})
        assert answered.is_success, answered.text
    expect(page.locator(".job-head .status")).to_have_text("Cancelled")
    until(lambda: console.server.load().streams == 0, "a page whose job has ended listens on")


def test_after_a_restart_of_the_server_nothing_is_missing(console: ConsoleUnderTest, window: Open) -> None:
    """The page says that it is cut off, comes back by itself, and shows what happened meanwhile."""
    visit = window(console)
    visit.context.add_init_script(_NO_POLL)
    page = visit.log_in()
    with serving(console.handle, Place("127.0.0.1", 0)) as server:
        url = server.url
        page.goto(f"{url}/tenants/acme/jobs")
        until(lambda: server.load().streams == 1, "the page does not listen")
    expect(page.locator(".live-words")).to_contain_text("reconnecting: this is how it was")
    job_id = console.dispatch("note.take", "meanwhile")
    with serving(console.handle, Place("127.0.0.1", int(str(url).rpartition(":")[2]))):
        page.locator(f"#job-{job_id}").wait_for()
        expect(page.locator(".live-words")).to_have_text("live")
        page.goto("about:blank")
    visit.complaints.clear()  # of the requests that found no server


def test_a_page_that_nobody_sees_does_not_listen(console: ConsoleUnderTest, page: Page) -> None:
    """Browsers have few connections: it takes one again, and looks, once it is seen."""
    page.goto("/tenants/acme/jobs")
    until(lambda: console.server.load().streams == 1, "the page does not listen")
    _show(page, "hidden")
    until(lambda: console.server.load().streams == 0, "a hidden page listens")
    job_id = console.dispatch("note.take", "unseen")
    console.until(JobStatus.COMPLETED, job_id)
    expect(page.locator(f"#job-{job_id}")).to_have_count(0)
    _show(page, "visible")
    page.locator(f"#job-{job_id}").wait_for()
    until(lambda: console.server.load().streams == 1, "the page does not listen any more")


def test_a_stream_tells_of_what_its_session_may_see(console: ConsoleUnderTest) -> None:
    """Of neither another tenant nor another queue."""
    grant = Grant(role=Role.OPERATOR, tenants=frozenset({"other"}), queues=frozenset({"notes"}))
    with client(console, console.make_key(grant)) as asking, asking.stream("GET", "/tenants/other/live") as told:
        lines = told.iter_lines()
        until_begun(lines)
        console.dispatch("note.take", "of another tenant")
        console.dispatch("note.take", "elsewhere", tenant="other", queue="elsewhere")
        own = console.dispatch("note.take", "own", tenant="other")
        first = next(line for line in lines if line.startswith("data: "))
        assert f'"job_id":"{own}"' in first and '"tenant":"other"' in first


def test_a_stream_goes_on_after_the_last_id(console: ConsoleUnderTest) -> None:
    """What happened since is told; an id that is none begins now."""
    with client(console, console.key) as asking:
        with asking.stream("GET", "/tenants/acme/live") as told:
            last = until_begun(told.iter_lines())
        job_id = console.dispatch("note.take", "since", delay_seconds=3_600)
        with asking.stream("GET", "/tenants/acme/live", headers={"Last-Event-ID": last}) as told:
            lines = told.iter_lines()
            assert until_begun(lines) == last
            assert str(job_id) in next(line for line in lines if line.startswith("data: "))
        with asking.stream("GET", "/tenants/acme/live", headers={"Last-Event-ID": "nothing"}) as told:
            assert until_begun(told.iter_lines()) not in (last, "nothing")


def test_a_session_that_ends_ends_its_streams(console: ConsoleUnderTest) -> None:
    """Whoever logged out is told nothing more; the browser that comes back is told to stay away."""
    with client(console, console.make_key(Grant(role=Role.ADMIN))) as asking:
        with asking.stream("GET", "/tenants/acme/live") as told:
            lines = told.iter_lines()
            until_begun(lines)
            assert asking.post("/logout").status_code == 303
            assert not [line for line in lines if line.startswith("data: ")]
        assert asking.get("/tenants/acme/live").status_code == 204


def test_streams_of_an_identity_are_counted(console: ConsoleUnderTest) -> None:
    """Those of pages and of the API together: one too many is refused."""
    key = console.make_key(Grant(role=Role.ADMIN))
    headers = {"Authorization": f"Bearer {key}"}
    with (
        client(console, key) as asking,
        asking.stream("GET", "/tenants/acme/live") as page,
        asking.stream("GET", "/v1/tenants/acme/events", headers=headers) as api,
    ):
        assert (page.status_code, api.status_code) == (200, 200)
        assert asking.get("/tenants/acme/live").status_code == 429


@contextmanager
def client(console: ConsoleUnderTest, key: str) -> Iterator[httpx.Client]:
    """What a browser sends that logged in with a key, in a session of its own."""
    with httpx.Client(base_url=console.url, headers={"Origin": console.url}, timeout=20) as client:
        answered = client.post("/login", data={"key": key})
        client.headers["Cookie"] = answered.headers["set-cookie"].partition(";")[0]
        assert client.headers["Cookie"].startswith(COOKIE)
        yield client


def until_begun(lines: Iterator[str]) -> str:
    """Read on until all that comes is told; the id at which that is."""
    begun = ""
    for line in lines:
        begun = begun or (line.removeprefix("id: ") if line.startswith("id: ") else "")
        if line.startswith("data: {}"):
            return begun
    raise AssertionError("the stream has ended")


def _show(page: Page, state: str) -> None:
    page.evaluate(
        "state => { Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }", state,
    )  # fmt: skip
