"""A console for tests: a ledger with a worker and a server in this process, and a browser that looks at it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from jobledger import Actor, Dispatch
from jobledger.application.commands import CreateTenant, DispatchJob
from jobledger.application.key_messages import CreateKey
from jobledger.application.message import Message
from jobledger.application.queries import GetJob
from jobledger.domain.identity import Grant
from jobledger.domain.job import JobStatus
from jobledger.infrastructure.bootstrap import LedgerHandle, open_ledger
from jobledger.infrastructure.console.sessions import COOKIE
from jobledger.infrastructure.identities import ensure_admin_key
from jobledger.infrastructure.service import Service, worker_options
from jobledger.infrastructure.settings import load
from jobledger.infrastructure.web import Place, WebServer, serving

from .console_app import app
from .waiting import until

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
ACTOR = Actor(id="service:notes")
_HURRY = "const wait = setInterval; window.setInterval = (act, milliseconds) => wait(act, milliseconds / 10);"
"""Pages look again after a tenth of the time: tests wait less for them."""
_WITHOUT = "THE CONSOLE WAS NOT TESTED IN A BROWSER: there is no /usr/bin/chromium (apt-get install chromium)"


class ConsoleUnderTest:
    """A ledger with the tenants `acme` and `other`, a worker for `console_app`, and a server."""

    def __init__(self, handle: LedgerHandle, server: WebServer, key: str) -> None:
        self.handle = handle
        self.server = server
        self.key = key
        """An administrator's."""
        self._sessions: dict[str, str] = {}

    @property
    def url(self) -> str:
        """Where it is."""
        assert self.server.url is not None
        return self.server.url

    def ask(self, message_type: type[Message[Any]], /, **fields: object) -> Any:  # noqa: ANN401
        """Carry a message out."""
        return self.handle.dispatcher.send(message_type, actor=ACTOR, **fields).unwrap()

    def dispatch(self, job_type: str, text: str = "", *, tenant: str = "acme", number: int = 0, **options: Any) -> UUID:  # noqa: ANN401
        """Dispatch a job."""
        item = Dispatch(job_type, {"text": text, "number": number}, tenant, **options)
        job_id: UUID = self.ask(DispatchJob, item=item).job_id
        return job_id

    def job(self, job_id: UUID, tenant: str = "acme") -> Any:  # noqa: ANN401
        """A job as it is."""
        return self.ask(GetJob, tenant=tenant, job=job_id)

    def until(self, status: JobStatus, *job_ids: UUID, tenant: str = "acme") -> None:
        """Wait until jobs have a status, and the lists show it."""
        until(lambda: all(self.job(job_id, tenant).status is status for job_id in job_ids), f"not all are {status}")
        head = self.handle.event_source.head()
        assert self.handle.ports.views.wait_for(head, 20)

    def dead(self, *texts: str, job_type: str = "note.refuse", **options: Any) -> list[UUID]:  # noqa: ANN401
        """Jobs that failed for good."""
        job_ids = [self.dispatch(job_type, text, **options) for text in texts]
        self.until(JobStatus.DLQ, *job_ids, tenant=options.get("tenant", "acme"))
        return job_ids

    def make_key(self, *grants: Grant, technical: bool = False) -> str:
        """The key of a person."""
        issued = self.ask(CreateKey, key_name="ana", grants=grants, technical=technical, reason="a test")
        return str(issued.credential)

    def session(self, key: str) -> str:
        """The cookie of who logged in with a key."""
        if key not in self._sessions:
            answered = httpx.post(f"{self.url}/login", data={"key": key}, headers={"Origin": self.url})
            self._sessions[key] = answered.headers["set-cookie"].partition(";")[0].partition("=")[2]
        return self._sessions[key]

    def topics(self, job_id: UUID, tenant: str = "acme") -> list[str]:
        """What happened to a job."""
        return [event.topic for event in self.handle.ports.reader.stream(tenant, job_id)]


@contextmanager
def console_under_test(database: str, **chosen: object) -> Iterator[ConsoleUnderTest]:
    """A console on a ledger that is made for it, with these settings."""
    settings = load(database=database, poll_interval_seconds=0.05, **chosen)
    with ExitStack() as ending:
        handle = open_ledger(settings, create=True, app=app)
        ending.callback(handle.close)
        key = ensure_admin_key(handle)
        assert key is not None
        for name, shown in (("acme", "Acme <script>pwned=1</script>"), ("other", "")):
            handle.dispatcher.send(CreateTenant, actor=ACTOR, name=name, display_name=shown, reason="a test").unwrap()
        service = Service(handle, app, worker_options(settings, app, concurrency=4))
        service.start()
        ending.callback(service.close, 20)
        server = ending.enter_context(serving(handle, Place("127.0.0.1", 0)))
        yield ConsoleUnderTest(handle, server, key)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium. The test is skipped, with a warning, where there is none."""
    if not CHROMIUM.exists():
        warnings.warn(_WITHOUT, stacklevel=2)
        pytest.skip(_WITHOUT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A window of a browser of its own, which remembers what its pages complained about."""

    def __init__(self, browser: Browser, console: ConsoleUnderTest, **options: Any) -> None:  # noqa: ANN401
        self.console = console
        self.context: BrowserContext = browser.new_context(base_url=console.url, **options)
        self.context.set_default_timeout(20_000)
        self.context.add_init_script(_HURRY)
        self.complaints: list[str] = []
        self.page: Page = self.context.new_page()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("dialog", self._dialog)

    def log_in(self, key: str | None = None) -> Page:
        """Be logged in with a key (default: the administrator's), as far as the browser knows."""
        value = self.console.session(key or self.console.key)
        self.context.add_cookies([{"name": COOKIE, "value": value, "url": self.console.url.replace("http:", "https:")}])
        return self.page

    def texts(self, selector: str) -> Sequence[str]:
        """The texts of what a selector finds."""
        return [text.strip() for text in self.page.locator(selector).all_inner_texts()]

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _dialog(self, dialog: Any) -> None:  # noqa: ANN401
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()
