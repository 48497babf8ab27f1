"""The page about the client, run as its readers would run it: against a server, and with the fake."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import BaseModel

from jobledger import App, JobContext
from jobledger.client import Client
from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.service import Service, publish_types, worker_options
from jobledger.infrastructure.settings import load
from tests.support.repository import ROOT
from tests.support.server import RunningServer, running_server
from tests.support.watched_worker import WAIT_SECONDS

PAGE = ROOT / "docs" / "how-to" / "use-the-client.md"
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

app = App("billing")


class Invoice(BaseModel):
    """Which one."""

    invoice_id: str


@app.job("invoice.send", effects="none", timeout_seconds=30)
def send(_context: JobContext, payload: Invoice) -> str:
    """As on the page."""
    return f"sent {payload.invoice_id}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the files of the page: a block begins one or goes on with the one before."""
    folder, name = tmp_path_factory.mktemp("page"), ""
    for block in _BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        first = block.partition("\n")[0]
        name = first.removeprefix("# file: ") if first.startswith("# file: ") else name
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(block)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with the tenant, and a worker for the page's job type."""
    place = tmp_path_factory.mktemp("server")
    with running_server(f"sqlite:///{place}/ledger.db", place) as running:
        with Client(running.url, running.key) as client:
            client.tenants.create("acme", reason="a customer")
        with closing(open_ledger(load(database=running.database), app=app)) as handle:
            publish_types(handle, app)
            service = Service(handle, app, worker_options(handle.settings, app), projections=False)
            service.start()
            try:
                yield running
            finally:
                service.close(WAIT_SECONDS)


def run(folder: Path, *command: str, **environment: str) -> str:
    """The output of a program in the folder."""
    given: Mapping[str, str] = {"PATH": os.environ["PATH"], "HOME": str(folder), **environment}
    ended = subprocess.run(
        [sys.executable, *command], cwd=folder, env=dict(given), capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.mark.parametrize("name", ["shop.py", "shop_async.py"])
def test_the_page_talks_to_a_server(folder: Path, server: RunningServer, name: str) -> None:
    """Everything that it shows can be done, and comes to what it says."""
    shown = run(folder, name, JOBS_URL=server.url, JOBS_KEY=server.key)
    if name == "shop_async.py":
        assert shown.startswith("job.dispatched\n")
        return
    assert "completed sent 42 None" in shown
    assert "version_conflict" in shown
    assert shown.endswith("invalid_input payload.invoice_id\n")


def test_the_worker_of_the_page_works(folder: Path, server: RunningServer) -> None:
    """It publishes its type, runs what there is, and ends."""
    with Client(server.url, server.key, tenant="acme") as client:
        key = client.keys.create("pages", [{"role": "worker"}], reason="a worker").credential
        assert run(folder, "page_worker.py", JOBS_URL=server.url, JOBS_KEY=key) == ""
        job = client.dispatch("page.render", {"pages": 3}, queue="pages").job_id
        assert run(folder, "page_worker.py", JOBS_URL=server.url, JOBS_KEY=key) == "completed\n"
        assert client.jobs.result(job).result == {"pages": 3}


def test_the_page_can_be_tested(folder: Path) -> None:
    """With the fake."""
    shown = run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), "test_billing.py")
    assert "2 passed" in shown
