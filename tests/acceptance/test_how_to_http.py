"""The page about jobs over HTTP: what it says to type is typed, in a shell, against a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support.repository import ROOT
from tests.support.server import RunningServer
from tests.support.watched_worker import WAIT_SECONDS

from .http_server import client, server

__all__ = ["client", "server"]

PAGE = (ROOT / "docs" / "how-to" / "jobs-over-http.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
TYPE = {
    "name": "invoice.send", "effects": "steps", "payload_schema": {"type": "object"},
    "result_schema": {"type": "object"},
}  # fmt: skip
ENDLESS = 28
"""What curl ends with when it was told not to go on for ever."""


@pytest.mark.skipif(shutil.which("curl") is None, reason="CURL IS NOT INSTALLED: the page is not followed")
def test_the_page_works_as_written(server: RunningServer, client: httpx.Client, tmp_path: Path) -> None:
    """Every command is answered as the page says."""
    types = {"app": "billing", "code_version": "1", "definitions": [TYPE]}
    assert client.post("/v1/job-types", json=types).is_success
    (tmp_path / "jobs.jsonl").write_text('{"type": "invoice.send"}\n{"type": "invoice.wrong"}\n', encoding="utf-8")
    begin, *blocks = BLOCKS
    job = client.post("/v1/tenants/acme/jobs", json={"type": "invoice.send"}).json()

    def typed(block: str) -> str:
        function = begin[begin.index("ask()") :].replace("curl", "curl --fail-with-body --max-time 2")
        ran = subprocess.run(
            ["sh", "-ec", function + block.replace("5f0c.8192", job["position"]).replace("wait_seconds=30", "")],
            env={**os.environ, "JOBS_URL": server.url, "JOBS_KEY": server.key, "JOB": job["job_id"]},
            cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False,
        )  # fmt: skip
        assert ran.returncode in (0, ENDLESS), ran.stderr + ran.stdout
        return ran.stdout

    dispatching, lists, changing, waiting, listening = blocks
    told = typed(dispatching).replace("}{", "}\n{").splitlines()
    assert [list(json.loads(line)) for line in told] == [
        ["job_id", "duplicate", "position"], ["line", "job_id", "duplicate", "position"], ["line", "problem"],
        ["summary"],
    ]  # fmt: skip
    assert typed(lists).count('"next_cursor"') == 2
    assert '"version":2' in typed(changing)
    assert '"status":"pending"' in typed(waiting)
    stream, of_job = (typed(line) for line in listening.splitlines())
    assert stream.startswith("retry:")
    assert of_job.count("data: ") == 2
