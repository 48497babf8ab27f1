"""What `jobledger up` shows of the console."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import Browser, expect

from tests.support.waiting import until
from tests.support.watched_worker import WAIT_SECONDS

_LINK = re.compile(r"http://127\.0\.0\.1:[0-9]+/login/link\?token=[A-Za-z0-9_-]{43}")
_KEY = re.compile(r"jl_admin\.[A-Za-z0-9_-]{43}")


class Up:
    """A `jobledger up` that runs, and what it has said."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def said(self) -> str:
        """All of it so far."""
        return self._log.read_text(encoding="utf-8")

    def wait_for(self, text: str) -> None:
        """Until it has said that."""
        until(lambda: text in self.said or self.process.poll() is not None, f"it never said {text}: {self.said}")
        assert text in self.said, self.said

    def event(self, name: str) -> dict[str, object]:
        """An event that it logged."""
        lines = (json.loads(line) for line in self.said.splitlines() if line.startswith("{"))
        return next(line for line in lines if line["event"] == name)


@contextmanager
def up(folder: Path, *words: str, code: int = 0, **variables: str) -> Iterator[Up]:
    """The program, told to stop at the end; the exit code is asserted."""
    log = folder / "up.log"
    environment = {
        **os.environ, "JOBLEDGER_DATABASE": f"sqlite:///{folder}/ledger.db", "JOBLEDGER_ACTOR": "os:ana@laptop",
        "JOBLEDGER_LOG_FORMAT": "json", **variables,
    }  # fmt: skip
    command = [sys.executable, "-m", "jobledger.infrastructure.cli", "up", "--app", "tests.support.console_app", *words]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        yield Up(process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == code, log.read_text(encoding="utf-8")


def test_the_link_that_up_shows_opens_the_console(browser: Browser, tmp_path: Path) -> None:
    """As an administrator of the name that the settings say; the first key is shown beside it, once, and neither is
    logged."""
    with up(tmp_path, "--port", "0") as running:
        running.wait_for("/login/link")
        (link,), (key,) = _LINK.findall(running.said), _KEY.findall(running.said)
        page = browser.new_page()
        page.goto(link)
        expect(page.locator(".who .name")).to_have_text("os:ana@laptop")
        url = str(running.event("up.started")["url"])
        answered = httpx.get(f"{url}/v1/tenants", headers={"Authorization": f"Bearer {key}"})
        assert answered.status_code == 200
        secret, token = key.partition(".")[2], link.partition("=")[2]
        logged = [line for line in running.said.splitlines() if line.startswith("{")]
        assert not any(secret in line or token in line for line in logged)
        page.close()
    with up(tmp_path, "--port", "0") as running:
        running.wait_for("/login/link")
        assert _KEY.findall(running.said) == []


def test_up_takes_another_port_where_nobody_chose_one(tmp_path: Path) -> None:
    """One that was chosen and is taken is an error."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with up(tmp_path, "--port", port, code=2) as running:
            until(lambda: running.process.poll() is not None)
            assert "cannot listen on 127.0.0.1" in running.said
    with up(tmp_path) as first:
        first.wait_for("/login/link")
        (tmp_path / "second").mkdir()
        with up(tmp_path / "second") as second:
            second.wait_for("/login/link")
            assert second.event("up.started")["url"] != first.event("up.started")["url"]


def test_up_shows_no_link_to_others(tmp_path: Path) -> None:
    """Where programs of other machines reach the address, only a key opens the console."""
    with up(tmp_path, "--port", "0", "--host", "0.0.0.0") as running:
        running.wait_for("jl_admin.")
        assert _LINK.findall(running.said) == [] and "/login/link" not in running.said


def test_up_serves_nothing_where_nobody_wants_it(tmp_path: Path) -> None:
    """With --no-http there is neither a server nor a key."""
    with up(tmp_path, "--no-http") as running:
        running.wait_for("up.started")
        assert running.event("up.started")["url"] is None
        running.wait_for("job_type.registered")
        assert "jl_admin" not in running.said
