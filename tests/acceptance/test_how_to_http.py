"""The pages about jobs over HTTP: what they say to type is typed, in a shell, against a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from jobledger.client import Client
from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.service import publish_types
from jobledger.infrastructure.settings import load
from tests.support.http_dead import die, worker_of
from tests.support.readme import FILES, README, billing
from tests.support.repository import ROOT
from tests.support.server import RunningServer
from tests.support.waiting import until
from tests.support.watched_worker import WAIT_SECONDS

from .http_server import client, server

__all__ = ["client", "server"]

PAGE = (ROOT / "docs" / "how-to" / "jobs-over-http.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
ENDLESS = 28
"""What curl ends with when it was told not to go on for ever."""


@pytest.mark.skipif(shutil.which("curl") is None, reason="CURL IS NOT INSTALLED: the page is not followed")
def test_the_page_works_as_written(server: RunningServer, client: httpx.Client, tmp_path: Path) -> None:
    """Every command is answered as the page says, of the README's job type."""
    app = billing().app
    with closing(open_ledger(load(database=server.database), app=app)) as handle:
        publish_types(handle, app)
    jobs = [
        {"type": "invoice.send", "payload": {"invoice_id": "43", "email": "a@b.example"}},
        {"type": "invoice.wrong"},
    ]
    (tmp_path / "jobs.jsonl").write_text("".join(f"{json.dumps(job)}\n" for job in jobs), encoding="utf-8")
    begin, *blocks = BLOCKS
    wanted = {"type": "invoice.send", "payload": {"invoice_id": "44", "email": "a@b.example"}}
    job = client.post("/v1/tenants/acme/jobs", json=wanted).json()

    def typed(block: str, **variables: str) -> str:
        function = begin[begin.index("ask()") :].replace("curl", "curl --fail-with-body --max-time 2")
        ran = subprocess.run(
            ["sh", "-ec", function + block.replace("5f0c.8192", job["position"]).replace("wait_seconds=30", "")],
            env={**os.environ, "JOBS_URL": server.url, "JOBS_KEY": server.key, "JOB": job["job_id"], **variables},
            cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False,
        )  # fmt: skip
        assert ran.returncode in (0, ENDLESS), ran.stderr + ran.stdout
        return ran.stdout

    dispatching, lists, changing, waiting, dead, counting, acting, listening = blocks
    told = typed(dispatching).replace("}{", "}\n{").splitlines()
    assert [list(json.loads(line)) for line in told] == [
        ["job_id", "duplicate", "position"], ["line", "job_id", "duplicate", "position"], ["line", "problem"],
        ["summary"],
    ]  # fmt: skip
    assert typed(lists).count('"next_cursor"') == 2
    assert '"version":2' in typed(changing)
    assert '"status":"pending"' in typed(waiting)
    with worker_of(server, client) as worker:
        died = die(client, worker, 4, queue="printing")
    assert typed(dead, JOB=died[0], OTHER_JOB=died[1]).count('"status":') >= 2
    until(lambda: client.get("/v1/tenants/acme/dlq/count").json()["count"] == 2, "the list does not follow")
    counted = json.loads(typed(counting))
    assert counted["count"] == 2
    act, operation = acting.split("\n", 2)[:2], acting.splitlines()[-1]
    begun = json.loads(typed("\n".join(act), UNTIL=counted["until"], COUNT=str(counted["count"])))
    until(lambda: '"succeeded"' in typed(operation, OPERATION=begun["operation_id"]), "the operation does not end")
    assert json.loads(typed(operation, OPERATION=begun["operation_id"]))["result"]["changed"] == 2
    stream, of_job = (typed(line) for line in listening.splitlines())
    assert stream.startswith("retry:")
    assert of_job.count("data: ") == 2


OVER_HTTP = re.findall(r"## Over HTTP\n(.*?)```python", README, re.DOTALL)[0]


@pytest.mark.skipif(shutil.which("curl") is None, reason="CURL IS NOT INSTALLED: the page is not followed")
def test_the_readme_works_in_an_empty_folder(tmp_path: Path) -> None:
    """Its programs are saved and what is typed under "Over HTTP" is typed, in its order: a job is dispatched, and runs.
    Then its other programs run."""
    assert list(FILES) == ["billing.py", "order.py", "shop.py", "test_billing.py"]
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    commands = [
        line.partition("  #")[0] for line in re.sub(r"\\\n\s*", "", OVER_HTTP).splitlines() if line[:4] == "    "
    ]
    install, up, *others = [command.strip() for command in commands]
    assert install == "pip install 'jobledger[server]'"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOBLEDGER_")}
    environment |= {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (tmp_path / "up.log").open("wb") as log:
        running = subprocess.Popen(
            [*up.split(), "--port", "0"], cwd=tmp_path, env=environment, stdout=log, stderr=log
        )  # fmt: skip
    try:
        url = _url_of(running, tmp_path / "up.log")
        (tmp_path / "shop.py").write_text(FILES["shop.py"].replace("http://127.0.0.1:8321", url), encoding="utf-8")
        said = ""
        for command in others:
            key = re.search(r"jl_\w+\.\S+", said)
            typed = command.replace("http://127.0.0.1:8321", url)
            typed = typed.replace("jl_...", key[0]) if key else typed
            environment |= {"KEY": key[0]} if key else {}
            said = _run(tmp_path, environment, "sh", "-ec", typed) or said
        assert (dispatched := json.loads(said))["duplicate"] is False
        with Client(url, environment["KEY"], tenant="acme") as client:
            assert client.jobs.result(dispatched["job_id"], timeout_seconds=WAIT_SECONDS).status == "completed"
        told = _run(tmp_path, environment, sys.executable, "order.py").splitlines()
        assert told[0] == f"job.dispatched by key:{environment['KEY'][3:].partition('.')[0]}"
        assert told[-1].startswith("job.completed by worker:")
        assert _run(tmp_path, environment, sys.executable, "shop.py").strip() == dispatched["job_id"]
    finally:
        running.terminate()
        running.wait(WAIT_SECONDS)
    assert "1 passed" in _run(tmp_path, environment, sys.executable, "-m", "pytest", "-q", "test_billing.py")


def _run(folder: Path, environment: Mapping[str, str], *command: str) -> str:
    ran = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr + ran.stdout
    return ran.stdout


def _url_of(running: subprocess.Popen[bytes], log: Path) -> str:
    found: list[str] = []

    def look() -> bool:
        assert running.poll() is None, log.read_text(encoding="utf-8")
        found.extend(re.findall(r'"url":"(http[^"]*)"', log.read_text(encoding="utf-8")))
        return bool(found)

    until(look, "it did not start")
    return found[0]
