"""The page of one job."""

from __future__ import annotations

import threading

import httpx
from playwright.sync_api import Page, expect

from jobledger.application.commands import RequeueJob
from jobledger.domain.identity import Grant, Permission, Role
from jobledger.domain.job import JobRequeued, JobStatus
from tests.support import console_app
from tests.support.console import ConsoleUnderTest, Visit

from .conftest import Open


def test_the_timeline_tells_what_happened_and_why(console: ConsoleUnderTest, visit: Visit) -> None:
    """Each event with who and why, each attempt with its end, and where the job stands in a sentence."""
    (job_id,) = console.dead("because")
    page = visit.page
    page.goto(f"/tenants/acme/jobs/{job_id}")
    assert visit.texts(".event strong") == ["dispatched", "started", "failed", "sent to the dead-letter queue"]
    expect(page.locator(".event.failed .why")).to_contain_text("NeverRetry: refused: because (no retry can help)")
    expect(page.locator(".event.dispatched .by")).to_have_text("by service:notes")
    expect(page.locator(".attempts tbody tr")).to_contain_text("failed")
    expect(page.locator(".account")).to_contain_text("only a person gets it out")


def test_a_long_timeline_comes_in_pages(console: ConsoleUnderTest, visit: Visit) -> None:
    """A hundred events a page: from the beginning, on, and to the latest."""
    job_id = console.dispatch("note.copy", number=250)
    console.until(JobStatus.COMPLETED, job_id)
    page = visit.page
    page.goto(f"/tenants/acme/jobs/{job_id}")
    expect(page.get_by_text("versions 1 to 100 of 253")).to_be_visible()
    assert page.locator(".event").count() == 100
    page.get_by_role("link", name="Next 100").first.click()
    expect(page.get_by_text("versions 101 to 200 of 253")).to_be_visible()
    page.get_by_role("link", name="From the beginning").click()
    expect(page.get_by_text("versions 1 to 100 of 253")).to_be_visible()
    page.get_by_role("link", name="Latest").click()
    expect(page.get_by_text("versions 154 to 253 of 253")).to_be_visible()
    assert visit.texts(".event strong")[-1] == "completed"


def test_a_running_job_is_followed_and_asked_to_stop(console: ConsoleUnderTest, page: Page) -> None:
    """Its page changes by itself, what is being typed stays; cancelling ends the job with the reason that was given."""
    console_app.GATES["follow"] = threading.Event()
    job_id = console.dispatch("note.wait", "follow", delay_seconds=1)
    page.goto(f"/tenants/acme/jobs/{job_id}")
    page.get_by_text("Cancel", exact=True).click()
    form = page.locator("#act-cancel")
    form.get_by_label("Reason").fill("no longer needed")
    expect(page.locator(".status").first).to_have_text("Running")
    expect(page.locator("progress").first).to_have_attribute("value", "0.25")
    page.get_by_text("Cancel", exact=True).click()
    page.locator("#act-cancel").get_by_label("Reason").fill("no longer needed")
    page.get_by_role("button", name="Cancel this job").click()
    expect(page.get_by_role("status")).to_have_text("Cancelling was asked for.")
    expect(page.locator(".status").first).to_have_text("Cancelled")
    expect(page.locator(".event.cancelled .why")).to_contain_text("no longer needed")
    expect(page.locator("[data-live]")).to_have_count(0)


def test_a_dead_job_is_requeued_with_a_reason(console: ConsoleUnderTest, page: Page) -> None:
    """The ledger has who did it, why, and with which ticket."""
    (job_id,) = console.dead("again")
    page.goto(f"/tenants/acme/jobs/{job_id}")
    page.get_by_text("Requeue", exact=True).click()
    form = page.locator("#act-requeue")
    form.get_by_label("Reason").fill("the provider is back")
    form.get_by_label("Attempts").fill("2")
    form.get_by_label("Ticket").fill("OPS-7")
    page.get_by_role("button", name="Requeue this job").click()
    expect(page.get_by_role("status")).to_have_text("The job was requeued.")
    event = next(
        event
        for event in console.handle.ports.reader.stream("acme", job_id)
        if isinstance(event.facts, JobRequeued)
    )  # fmt: skip
    assert isinstance(event.facts, JobRequeued)
    facts = event.facts
    assert (facts.reason, facts.ticket, facts.attempts_granted) == ("the provider is back", "OPS-7", 2)
    assert (event.metadata.actor, event.metadata.address) == ("key:admin", "127.0.0.1")


def test_a_dead_job_is_requeued_with_another_payload(console: ConsoleUnderTest, window: Open) -> None:
    """It is edited as it was, what is wrong is told at its field, what changes is shown before it is done, and the
    ledger has where it differs."""
    (job_id,) = console.dead("wr\u202eong \U0001f9be", job_type="note.amend")
    visit = window(console)
    page = visit.log_in()
    page.goto(f"/tenants/acme/jobs/{job_id}")
    page.get_by_text("Requeue", exact=True).click()
    page.get_by_role("link", name="Change its payload first").click()
    field = page.get_by_label("Payload")
    assert field.input_value() == '{\n  "text": "wr\\u202eong \U0001f9be",\n  "number": 0\n}'
    page.get_by_label("Reason").fill("a slip")
    look = page.get_by_role("button", name="Look at what changes")
    for text, said in (
        ('{"text": "right",\n number: 1}', "Is no JSON at line 2, column 2"), ("[]", "Is a JSON object"),
        ('{"text": "a", "text": "b"}', "Names 'text' twice"), ('{"number": "many"}', "number: "),
        ('{"text": "wr\\u202eong \U0001f9be"}', "Is what it was before"),
    ):  # fmt: skip
        field.fill(text)
        look.click()
        expect(page.locator("#wrong-payload")).to_contain_text(said)
        expect(field).to_have_value(text)
        expect(field).to_have_attribute("aria-describedby", "wrong-payload")
    field.fill('{"text": "right", "number": 3}')
    look.click()
    expect(page.get_by_role("heading", name="2 places change")).to_be_visible()
    assert visit.texts(".changes del") == ['"wr\ufffdong \U0001f9be"', "0"] and visit.texts(".changes ins") == [
        '"right"',
        "3",
    ]
    page.get_by_role("button", name="Edit further").click()
    expect(field).to_have_value('{"text": "right", "number": 3}')
    look.click()
    page.get_by_role("button", name="Requeue with this payload").click()
    expect(page.get_by_role("status")).to_have_text("The job was requeued.")
    console.until(JobStatus.COMPLETED, job_id)
    events = console.handle.ports.reader.stream("acme", job_id)
    facts = next(event.facts for event in events if isinstance(event.facts, JobRequeued))
    assert facts.payload_edited and [one.path for one in facts.payload_changes or ()] == ["/text", "/number"]
    assert facts.reason == "a slip"
    visit.complaints.clear()  # of the status 422


def test_a_payload_is_not_edited_that_somebody_else_requeued(console: ConsoleUnderTest, window: Open) -> None:
    """The form is for the job as it was seen: another version of it is not touched, and the page leads to it."""
    (job_id,) = console.dead("twice")
    visit = window(console)
    page = visit.log_in()
    page.goto(f"/tenants/acme/jobs/{job_id}/edit")
    page.get_by_label("Payload").fill('{"text": "mine"}')
    page.get_by_label("Reason").fill("mine")
    page.get_by_role("button", name="Look at what changes").click()
    page.get_by_role("button", name="Requeue with this payload").wait_for()
    console.ask(RequeueJob, tenant="acme", job=job_id, reason="theirs")
    console.until(JobStatus.DLQ, job_id)
    page.get_by_role("button", name="Requeue with this payload").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert console.topics(job_id).count("job.requeued") == 1
    page.get_by_role("link", name="Begin again from how it is now").click()
    expect(page.get_by_label("Payload")).to_have_value('{\n  "text": "twice",\n  "number": 0\n}')
    visit.complaints.clear()  # of the status 409


def test_who_may_not_see_payloads_edits_none(console: ConsoleUnderTest, window: Open) -> None:
    """Neither without the permission to requeue; the page says what is missing, and shows nothing."""
    (job_id,) = console.dead("not for you")
    for extra, missing in ((Permission.REQUEUE, "payloads.read"), (Permission.READ_PAYLOADS, "dlq.requeue")):
        visit = window(console)
        page = visit.log_in(console.make_key(Grant(role=Role.OPERATOR, extra=frozenset({extra}))))
        page.goto(f"/tenants/acme/jobs/{job_id}?act=requeue")
        assert page.get_by_role("link", name="Change its payload first").count() == 0
        answered = page.goto(f"/tenants/acme/jobs/{job_id}/edit")
        assert answered is not None and answered.status == 403
        expect(page.locator("main")).to_contain_text(f"needs the permission {missing}")
        assert "not for you" not in page.content()
        visit.complaints.clear()  # of the status 403


def test_nothing_is_done_without_a_reason(console: ConsoleUnderTest, window: Open) -> None:
    """The page says so, keeps what was entered, and the ledger has nothing of it."""
    (job_id,) = console.dead("still")
    visit = window(console)
    page = visit.log_in()
    page.goto(f"/tenants/acme/jobs/{job_id}")
    page.get_by_text("Discard", exact=True).click()
    form = page.locator("#act-discard form")
    form.get_by_label("Ticket").fill("OPS-8")
    form.get_by_label("Reason").fill("   ")
    form.evaluate("form => { form.noValidate = true; }")
    page.get_by_role("button", name="Discard this job").click()
    expect(page.get_by_role("alert")).to_contain_text("Say why")
    expect(page.locator("#act-discard").get_by_label("Ticket")).to_have_value("OPS-8")
    assert console.job(job_id).status is JobStatus.DLQ
    visit.complaints.clear()  # of the status 422


def test_a_waiting_job_is_rescheduled(console: ConsoleUnderTest, page: Page) -> None:
    """To another time, in UTC, and with another priority."""
    job_id = console.dispatch("note.take", delay_seconds=3_600)
    page.goto(f"/tenants/acme/jobs/{job_id}")
    page.get_by_text("Reschedule", exact=True).click()
    form = page.locator("#act-reschedule")
    form.get_by_label("Not before").fill("2040-01-02T03:04:05")
    form.get_by_label("Priority").fill("7")
    form.get_by_label("Reason").fill("later")
    page.get_by_role("button", name="Reschedule this job").click()
    expect(page.get_by_role("status")).to_have_text("The job was rescheduled.")
    state = console.job(job_id).state
    assert (state.due_at.isoformat(), state.priority) == ("2040-01-02T03:04:05+00:00", 7)


def test_what_is_too_late_is_told(console: ConsoleUnderTest, window: Open) -> None:
    """A form of a page that is old: the job has moved on, and that is said. Its page tells who ended it, and why."""
    job_id = console.dispatch("note.take", delay_seconds=3_600)
    visit = window(console)
    page = visit.log_in()
    page.goto(f"/tenants/acme/jobs/{job_id}")
    cookies = {cookie["name"]: cookie["value"] for cookie in visit.context.cookies()}
    place = f"{console.url}/tenants/acme/jobs/{job_id}/cancel"
    for status in (303, 409):
        sent = httpx.post(place, data={"reason": "no"}, cookies=cookies, headers={"Origin": console.url})
        assert sent.status_code == status
    assert "cannot become cancelled" in sent.text
    page.reload()
    expect(page.locator(".account")).to_have_text("was cancelled by key:admin: no")
    console.until(JobStatus.CANCELLED, job_id)
    page.goto("/tenants/acme/jobs?status=cancelled")
    expect(page.locator(f"tr[data-row='{job_id}'] .wide")).to_contain_text("cancelled")


def test_payloads_are_shown_on_request_and_that_is_recorded(console: ConsoleUnderTest, page: Page) -> None:
    """Not before somebody asks for them; who asked is in the job's history from then on."""
    job_id = console.dispatch("note.take", "a customer's words")
    console.until(JobStatus.COMPLETED, job_id)
    page.goto(f"/tenants/acme/jobs/{job_id}")
    expect(page.get_by_text("a customer's words")).to_have_count(0)
    before = console.handle.event_source.head()
    page.get_by_role("link", name="Show payload and result").click()
    expect(page.locator("pre.body").first).to_contain_text('"text": "a customer\'s words"')
    expect(page.locator("pre.body").last).to_contain_text('"taken": "a customer\'s words"')
    recorded = console.handle.ports.reader.read_after(before, limit=10).events
    assert [(event.topic, event.metadata.actor) for event in recorded] == [("audit.bodies_read", "key:admin")]


def test_what_one_may_not_do_is_not_offered(console: ConsoleUnderTest, window: Open) -> None:
    """An auditor sees no payload and changes nothing: the page says what is missing, and the server refuses."""
    (job_id,) = console.dead("look only")
    visit = window(console)
    page = visit.log_in(console.make_key(Grant(role=Role.AUDITOR, tenants=frozenset({"acme"}))))
    page.goto(f"/tenants/acme/jobs/{job_id}")
    assert visit.texts(".refused code") == [Permission.REQUEUE.value, Permission.OPERATE.value]
    assert page.locator(".acts form").count() == 0
    expect(page.get_by_text("payloads.read")).to_be_visible()
    cookies = {cookie["name"]: cookie["value"] for cookie in visit.context.cookies()}
    place = f"{console.url}/tenants/acme/jobs/{job_id}"
    sent = httpx.post(f"{place}/requeue", data={"reason": "x"}, cookies=cookies, headers={"Origin": console.url})
    assert (sent.status_code, console.job(job_id).status) == (403, JobStatus.DLQ)
    looked = httpx.get(f"{place}?payload=1", cookies=cookies)
    assert looked.status_code == 403 and "look only" not in looked.text.partition("Payload and result")[2]
