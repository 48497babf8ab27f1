"""Logging in and out."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Route, expect

from jobledger.application.key_messages import RevokeKey
from jobledger.domain.identity import Grant, Role
from tests.support.console import ConsoleUnderTest, Visit, console_under_test
from tests.support.issuer import issuer, rsa_key, signed

from .conftest import Open


def test_a_key_logs_in_and_logging_out_ends_that(console: ConsoleUnderTest, window: Open) -> None:
    """The session is in a cookie that no script and no other site gets; once logged out, it is worth nothing."""
    visit, hints = window(console), list[str]()
    visit.page.on("console", lambda message: hints.append(message.text))
    visit.page.goto("/tenants/acme/jobs?status=dlq")
    assert visit.page.url.endswith("/login?next=%2Ftenants%2Facme%2Fjobs%3Fstatus%3Ddlq")
    page = visit.page
    expect(page.get_by_label("API key")).to_be_focused()
    page.get_by_label("API key").fill(console.key)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/tenants/acme/jobs?status=dlq")
    assert not [hint for hint in hints if "[DOM]" in hint], "Chromium misses something in the form"
    (cookie,) = visit.context.cookies()
    assert cookie["name"] == "__Host-jobledger" and cookie["httpOnly"] and cookie["secure"]
    assert (cookie["sameSite"], cookie["path"]) == ("Strict", "/")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    visit.context.add_cookies(
        [{"name": cookie["name"], "value": cookie["value"], "domain": "127.0.0.1", "path": "/", "secure": True}]
    )
    assert visit.context.cookies()
    page.goto("/tenants")
    assert "/login" in page.url


def test_a_page_that_follows_jobs_does_not_overtake_a_log_out(console: ConsoleUnderTest, window: Open) -> None:
    """Its last look hears that nobody is logged in any more: what was sent goes on, the page is not loaded again."""
    visit = window(console)
    page = visit.log_in(console.make_key(Grant(role=Role.ADMIN)))
    looks: list[Route] = []

    def hold(route: Route) -> None:
        looks.append(route)

    def log_out(route: Route) -> None:
        answered = route.fetch(max_redirects=0)
        looks[0].fulfill(headers={"HX-Refresh": "true", "HX-Reswap": "none"})
        route.fulfill(response=answered)

    page.goto("/tenants/acme/jobs")
    page.route("**/live?*", hold)
    page.route("**/logout", log_out)
    with page.expect_request("**/live?*"):
        pass
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    visit.complaints.clear()  # of the looks that were held here, and cut when the page was left


@pytest.mark.parametrize("key", ["jl_admin.wrong", "nonsense", f"jl_nobody.{'a' * 43}"])
def test_what_is_no_key_opens_nothing(console: ConsoleUnderTest, key: str) -> None:
    """Whatever is wrong with it, it is told in the same words."""
    headers = {"Origin": console.url}
    answered = httpx.post(f"{console.url}/login", data={"key": key}, headers=headers)
    assert answered.status_code == 401
    assert "That key opens nothing." in answered.text
    assert "set-cookie" not in answered.headers
    assert key not in answered.text


def test_a_token_of_the_issuer_logs_in(window: Open, tmp_path: Path) -> None:
    """As whom it names, with what it grants; the page says that it takes one."""
    grants = {"ops": [{"role": "operator", "tenants": ["acme"]}]}
    with issuer() as running, ExitStack() as ending:
        console = ending.enter_context(console_under_test(
            f"sqlite:///{tmp_path}/ledger.db", oidc_issuer=running.url, oidc_audience="jobledger",
            oidc_grants=grants, oidc_grants_claim="groups",
        ))  # fmt: skip
        claims = {
            "iss": running.url,
            "aud": "jobledger",
            "sub": "ana",
            "exp": int(time.time()) + 600,
            "groups": ["ops"],
        }
        headers = {"Origin": console.url}
        good, bad = signed(claims, rsa_key()), signed({**claims, "aud": "another"}, rsa_key())
        refused = httpx.post(f"{console.url}/login", data={"key": bad}, headers=headers)
        assert (refused.status_code, "That opens nothing." in refused.text) == (401, True)
        visit = window(console)
        page = visit.page
        page.goto("/login")
        expect(page.locator("main")).to_contain_text(f"A token of {running.url}")
        page.get_by_label("API key or token").fill(good)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/tenants/acme/jobs")
        expect(page.locator(".who .name")).to_have_text("ana")
        job_id = console.dispatch("note.take", delay_seconds=3_600)
        page.goto(f"/tenants/acme/jobs/{job_id}?act=cancel")
        page.locator("#act-cancel").get_by_label("Reason").fill("not needed")
        page.get_by_role("button", name="Cancel this job").click()
        expect(page.locator(".account")).to_contain_text("cancelled by person:ana: not needed")
        assert console.session(console.key), "keys log in as before"


def test_an_issuer_that_does_not_answer_is_told(tmp_path: Path) -> None:
    """It is not the token's fault, and may be over in a moment."""
    with console_under_test(
        f"sqlite:///{tmp_path}/ledger.db", oidc_issuer="http://127.0.0.1:9", oidc_audience="jobledger"
    ) as console:
        sent = {"key": signed({"sub": "ana"}, rsa_key())}
        answered = httpx.post(f"{console.url}/login", data=sent, headers={"Origin": console.url})
        assert (answered.status_code, "The issuer of tokens does not answer." in answered.text) == (503, True)


def test_a_link_logs_in_once(console: ConsoleUnderTest, window: Open) -> None:
    """Looking at it does not use it up; who opens it is an administrator, and it works for nobody else afterwards."""
    link = console.server.login_link("os:ana@laptop")
    assert link is not None
    assert httpx.get(link).status_code == 200
    first, second = window(console), window(console)
    first.page.goto(link)
    first.page.wait_for_url("**/tenants")
    assert first.page.locator(".who .name").inner_text() == "os:ana@laptop"
    assert httpx.get(link).status_code == 410
    assert _send_link(console, link) == 410
    second.page.goto("/login/link?token=" + "x" * 43)
    assert second.page.get_by_text("This link is used up").is_visible()
    second.complaints.clear()  # Chromium complains about the status 410, which is what is meant


def _send_link(console: ConsoleUnderTest, link: str) -> int:
    token = link.partition("token=")[2]
    sent = httpx.post(f"{console.url}/login/link", data={"token": token}, headers={"Origin": console.url})
    return sent.status_code


def test_a_key_that_is_revoked_ends_its_sessions(console: ConsoleUnderTest, window: Open) -> None:
    """At once, wherever somebody is logged in with it."""
    key = console.make_key(Grant(role=Role.ADMIN))
    visit = window(console)
    visit.log_in(key)
    console.ask(RevokeKey, key_id=key.removeprefix("jl_").partition(".")[0], reason="lost")
    visit.page.goto("/tenants")
    assert "/login" in visit.page.url


@pytest.mark.parametrize("place", ["https://example.com/", "//example.com", "/\\example.com", "/login", "javascript:1"])
def test_a_login_leads_to_the_console_only(console: ConsoleUnderTest, place: str) -> None:
    """Whatever the address asks for."""
    sent = {"key": console.key, "next": place}
    answered = httpx.post(f"{console.url}/login", data=sent, headers={"Origin": console.url})
    assert (answered.status_code, answered.headers["location"]) == (303, "/welcome?next=%2F")


def test_a_browser_that_keeps_no_cookie_is_told(console: ConsoleUnderTest) -> None:
    """A login that leads nowhere says why."""
    answered = httpx.get(f"{console.url}/welcome?next=/tenants")
    assert "The browser did not keep the login." in answered.text


def test_a_link_from_elsewhere_opens_the_page(console: ConsoleUnderTest, visit: Visit) -> None:
    """Though the cookie does not come along from another site, who is logged in sees the page."""
    page = visit.page
    page.route("http://elsewhere.example/", lambda route: route.fulfill(
        content_type="text/html", body=f"<a href='{console.url}/tenants/other/jobs'>look</a>"
    ))  # fmt: skip
    page.goto("http://elsewhere.example/")
    page.get_by_text("look").click()
    page.get_by_role("heading", name="Jobs", exact=True).wait_for()
    assert page.url.endswith("/tenants/other/jobs")
