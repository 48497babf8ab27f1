"""What the pages promise about security, looks and old browsers."""

from __future__ import annotations

import hashlib
from html.parser import HTMLParser
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest
from playwright.sync_api import expect

from jobledger.domain.job import JobStatus
from jobledger.infrastructure.console.assets import FOLDER
from jobledger.infrastructure.console.safety import POLICY
from jobledger.infrastructure.console.sessions import COOKIE
from tests.support.console import ConsoleUnderTest, Visit

from .conftest import Open

ATTACK = "<script>pwned=1</script><img src=x onerror=pwned=1>\u202edrow"


@pytest.fixture(scope="module")
def attacker(console: ConsoleUnderTest) -> UUID:
    """A dead job whose payload, error and request try to be HTML."""
    (job_id,) = console.dead(ATTACK, correlation_id="<i>'\"&amp;")
    return job_id


class Inline(HTMLParser):
    """Finds scripts and styles that stand in a page itself."""

    found: list[str]

    @classmethod
    def of(cls, html: str) -> list[str]:
        """Those of a page."""
        parser = cls()
        parser.found = []
        parser.feed(html)
        return parser.found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag, and what it says."""
        names = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(tag)
        self.found += [name for name in names if name == "style" or name.startswith("on")]


def places(job_id: UUID) -> list[str]:
    """Every kind of page."""
    job = f"/tenants/acme/jobs/{job_id}"
    return [
        "/tenants", "/tenants/acme/jobs", "/tenants/acme/jobs?status=dlq&type=<script>", job, f"{job}?payload=1",
        "/tenants/acme/dlq", "/tenants/other/dlq", "/tenants/acme/dlq/error?fingerprint=<script>",
        "/tenants?find=<script>",
    ]  # fmt: skip


def test_what_tries_to_be_html_is_text(console: ConsoleUnderTest, attacker: UUID, visit: Visit) -> None:
    """In a payload, an error, a request, a tenant's name, a filter: it is shown as written, and never runs."""
    page = visit.page
    for place in places(attacker):
        page.goto(place)
        assert page.evaluate("typeof pwned") == "undefined", place
        assert page.locator("main script, main img, main b, main i").count() == 0, place
    page.goto(f"/tenants/acme/jobs/{attacker}?payload=1")
    shown = page.locator("main").inner_text()
    assert "<script>pwned=1</script><img src=x onerror=pwned=1>" in shown and "<i>'\"&amp;" in shown
    assert "\u202e" not in shown
    assert "Acme <script>pwned=1</script>" in page.locator("option").first.inner_text()


def test_every_answer_says_what_a_browser_may_do(console: ConsoleUnderTest, attacker: UUID) -> None:
    """Also where it is an error or a file; no page has a script or a style of its own."""
    cookies = {COOKIE: console.session(console.key)}
    with httpx.Client(base_url=console.url, cookies=cookies) as client:
        for place in [*places(attacker), "/", "/login", "/nowhere", "/tenants/nobody/jobs", "/static/console.js"]:
            answered = client.get(place)
            headers = answered.headers
            assert headers["content-security-policy"] == POLICY, place
            assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "same-origin"
            if "text/html" in headers.get("content-type", ""):
                assert Inline.of(answered.text) == [], place
                assert headers["cache-control"] == "no-store"


def test_what_another_site_sends_is_refused(console: ConsoleUnderTest, attacker: UUID) -> None:
    """Whether a browser says where it comes from, only where from, or nothing: nothing is done."""
    cookies = {COOKIE: console.session(console.key)}
    place = f"{console.url}/tenants/acme/jobs/{attacker}/discard"
    for headers in (
        {"Sec-Fetch-Site": "cross-site", "Origin": console.url}, {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://example.com"}, {"Origin": "null"}, {},
    ):  # fmt: skip
        sent = httpx.post(place, data={"reason": "x"}, cookies=cookies, headers=headers)
        assert sent.status_code == 403, headers
    assert console.job(attacker).status is JobStatus.DLQ


NONSENSE = ("\x00", "'", "\u202e", "9" * 30, "é" * 600, "2026-13-01", "0001-01-01T00:00", "..", "null")
_SPAN = ("within", "from", "to")
_ASKED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("/tenants/acme/jobs", ("status", "type", "queue", "persona", "cursor", "after", *_SPAN)),
    ("/tenants/acme/dlq", ("type", "queue", "persona", "after", *_SPAN)),
    ("/tenants/acme/dlq/error", ("type", "queue", "persona", "cursor", "fingerprint", *_SPAN)),
    ("/tenants/acme/dlq/acts/x", ("queue",)), ("/tenants", ("find",)),
)  # fmt: skip
"""What each page reads of its address."""
_SENT_TO_A_JOB: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("reschedule", ("reason", "priority", "due_at")), ("requeue", ("reason", "attempts", "ticket")),
    ("edit", ("version", "payload", "attempts", "ticket")),
)  # fmt: skip
_SENT_TO_MANY: tuple[str, tuple[str, ...]] = (
    "/tenants/acme/dlq/error/discard?fingerprint=none",
    ("reason", "ticket", "count", "confirm", "until"),
)


def test_nonsense_is_told(each_console: ConsoleUnderTest) -> None:
    """In an address or a form: an answer that says so, and never trouble of the server."""
    (job_id,) = each_console.dead("nonsense")
    cookies = {COOKIE: each_console.session(each_console.key)}
    job = f"/tenants/acme/jobs/{job_id}"
    with httpx.Client(base_url=each_console.url, cookies=cookies, headers={"Origin": each_console.url}) as client:
        for text in NONSENSE:
            for place, names in (*_ASKED, (job, ("after", "act", "done", "payload"))):
                for name in names:
                    assert client.get(place, params={name: text}).status_code < 500, (place, name, text)
            for act, names in (*((f"{job}/{act}", names) for act, names in _SENT_TO_A_JOB), _SENT_TO_MANY):
                for name in names:
                    sent = {"reason": "x", "count": "1", "confirm": "1", "version": "9", "payload": "{}", name: text}
                    answered = client.post(act, data=sent)
                    assert answered.status_code in (303, 409, 422, 429), (act, name, text, answered.status_code)
            for place in (f"/tenants/{quote(text)}/jobs", f"/tenants/acme/jobs/{quote(text)}", f"/{quote(text)}"):
                assert client.get(place).status_code in (200, 303, 404, 422), place
    assert each_console.job(job_id).status is JobStatus.DLQ


def test_htmx_is_the_one_that_was_looked_at() -> None:
    """The digests of what others wrote are those on record."""
    folder = FOLDER / "vendor"
    for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, name = line.split()
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


def test_pages_work_without_scripts(console: ConsoleUnderTest, window: Open) -> None:
    """Logging in, filtering, opening a job and requeueing it."""
    (job_id,) = console.dead("by hand", tenant="other")
    visit = window(console, java_script_enabled=False)
    page = visit.log_in()
    page.goto("/tenants/other/jobs")
    page.get_by_label("Status").select_option("dlq")
    page.get_by_role("button", name="Filter").click()
    page.locator(".row-link").click()
    page.wait_for_url(f"**/{job_id}")
    page.get_by_text("Requeue", exact=True).click()
    page.locator("#act-requeue").get_by_label("Reason").fill("without a script")
    page.get_by_role("button", name="Requeue this job").click()
    expect(page.get_by_role("status")).to_have_text("The job was requeued.")
    assert "job.requeued" in console.topics(job_id, "other")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_light_and_dark(
    console: ConsoleUnderTest, attacker: UUID, window: Open, *, scheme: str, width: int
) -> None:
    """Nothing is wider than the window; the ground is light or dark as the system has it, and words stand out."""
    visit = window(console, color_scheme=scheme, viewport={"width": width, "height": 844})
    page = visit.log_in()
    for place in (*places(attacker), f"/tenants/acme/jobs/{attacker}/edit", "/tenants/acme/dlq/acts/nothing"):
        page.goto(place)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), place
        ground, ink = page.evaluate(_LUMINANCES)
        assert (ground > 0.8) == (scheme == "light") and (ink < 0.2) == (scheme == "light")
        for selector, contrast in page.evaluate(_CONTRASTS, list(_WORDS)):
            assert contrast >= 4.5, (place, selector, contrast)
    visit.complaints.clear()  # of the status 404


_WORDS = (
    ".status", ".none", ".hint", ".fresh", "th", ".error-words", "button.primary", "button.danger", ".by",
    ".live-words", "label", "dt", ".warn", ".trouble", ".notice", ".field-error", ".code", ".absolute",
    "td::before", "a",
)  # fmt: skip
_LUMINANCES = """() => ["backgroundColor", "color"].map((name) => {
  const [r, g, b] = getComputedStyle(document.body)[name].match(/[\\d.]+/g).map(Number);
  return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
})"""
_CONTRASTS = """selectors => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parts(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  return selectors.flatMap((selector) => {
    const found = [...document.querySelectorAll(selector.replace("::before", ""))];
    return found.filter((e) => e.offsetParent).slice(0, 5).map((e) => {
      const ink = getComputedStyle(e, selector.endsWith("::before") ? "::before" : null).color;
      const [a, b] = [luminance(parts(ink)), luminance(ground(e))].sort((x, y) => y - x);
      return [selector, (a + 0.05) / (b + 0.05)];
    });
  });
}"""
