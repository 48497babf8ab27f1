"""Workers that are not ours: over HTTP, by hand, in plain shell and in Node, against a real server."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from jobledger.application.key_messages import CreateKey
from jobledger.application.message import Actor
from jobledger.domain.identity import Grant, Role
from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.http.server import THREADS
from jobledger.infrastructure.settings import load
from tests.support.repository import ROOT
from tests.support.server import RunningServer, running_server
from tests.support.waiting import until
from tests.support.watched_worker import WAIT_SECONDS

from .http_server import client, server

__all__ = ["client", "server"]

TENANT = "/v1/tenants/acme"
EXAMPLES = ROOT / "examples" / "remote_worker"
OBJECT = {"type": "object"}
TYPES = [
    {"name": name, "effects": "steps", "payload_schema": OBJECT, "result_schema": {**OBJECT, **result},
     "options": {"retry": {"kind": "fixed", "max_attempts": 2, "base_seconds": 600, "jitter": "none"}}}
    for name, result in (
        ("invoice.send", {"required": ["sent"]}), ("invoice.pages", {"required": ["files"]}), ("invoice.post", {}),
    )
]  # fmt: skip
PROGRAM = """\
#!/bin/sh
read -r lease
echo "working on $lease" | cut -c 1-40 >&2
case $lease in
*'"invoice_id":"wrong"'*) printf 'it is "wrong"\\n' >&2; exit 65 ;;
*'"invoice_id":"later"'*) exit 75 ;;
*'"invoice_id":"broken"'*) echo 'a	back\\slash' >&2; exit 1 ;;
*'"invoice_id":"odd"'*) echo '{}' ;;
*'"invoice_id":"slow"'*) exec sleep 60 ;;
*) echo '{"sent": true}' ;;
esac
"""


class Jobs:
    """Jobs of `acme` in a queue of one test."""

    def __init__(self, client: httpx.Client, queue: str) -> None:
        self.client = client
        self.queue = queue

    def dispatch(self, job_type: str, **payload: Any) -> str:  # noqa: ANN401
        """One job; its id."""
        answered = self.client.post(f"{TENANT}/jobs", json={"type": job_type, "payload": payload, "queue": self.queue})
        assert answered.status_code == 201, answered.text
        return str(answered.json()["job_id"])

    def show(self, job_id: str) -> dict[str, Any]:
        """The job as it is, with its result."""
        answered = self.client.get(f"{TENANT}/jobs/{job_id}", params={"payload": "true"})
        assert answered.status_code == 200, answered.text
        return dict(answered.json())

    def until(self, job_id: str, *statuses: str) -> dict[str, Any]:
        """The job, once it has come so far."""
        until(lambda: self.show(job_id)["status"] in statuses, f"{job_id} did not become {statuses}")
        return self.show(job_id)

    def cancel(self, job_id: str) -> None:
        """Ask for it to stop."""
        answered = self.client.post(f"{TENANT}/jobs/{job_id}/cancel", json={"reason": "wrong"})
        assert answered.status_code == 200, answered.text


@pytest.fixture
def key(server: RunningServer) -> str:
    """A key that works for `acme` in all queues, and may publish job types."""
    return new_key(server, Grant(role=Role.WORKER, tenants=frozenset({"acme"})), Grant(role=Role.EMITTER))


@pytest.fixture
def jobs(server: RunningServer, client: httpx.Client) -> Jobs:
    """Jobs of types that no program of ours declares."""
    publish(server, new_key(server, Grant(role=Role.WORKER)))
    return Jobs(client, f"q-{uuid4().hex[:12]}")


@pytest.fixture
def worker(server: RunningServer, key: str) -> Iterator[httpx.Client]:
    """A client of the worker's identity."""
    with server.client(key) as client:
        yield client


def publish(server: RunningServer, key: str) -> None:
    """Make `TYPES` known."""
    with server.client(key) as publisher:
        published = publisher.post("/v1/job-types", json={"app": "billing", "code_version": "1", "definitions": TYPES})
    assert published.status_code == 200, published.text


def new_key(server: RunningServer, *grants: Grant) -> str:
    """A key of a technical identity."""
    handle = open_ledger(load(database=server.database))
    try:
        actor = Actor(id="service:test")
        made = handle.dispatcher.send(CreateKey, actor=actor, key_name="worker", grants=grants, reason="a test")
        return made.unwrap().credential
    finally:
        handle.close()


def claim(worker: httpx.Client, queue: str, **wishes: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """The leases that a claim brings."""
    answered = worker.post("/v1/leases/claim", json={"worker": "w1", "queues": [queue], **wishes})
    assert answered.status_code == 200, answered.text
    return list(answered.json()["leases"])


def tell(worker: httpx.Client, lease: dict[str, Any], what: str, **fields: Any) -> httpx.Response:  # noqa: ANN401
    """Tell something of an attempt."""
    return worker.post(f"{lease['path']}/{what}", json={"worker": "w1", **fields})


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_a_job_is_worked_on_over_http(jobs: Jobs, worker: httpx.Client) -> None:
    """Claimed, renewed, reported on and completed: its history tells who did it, and the answer how far it reached."""
    job_id = jobs.dispatch("invoice.send", invoice_id="42")
    (lease,) = claim(worker, jobs.queue, code_version="2026.11.3")
    assert (lease["job_id"], lease["attempt"], lease["payload"]) == (job_id, 1, {"invoice_id": "42"})
    assert jobs.show(job_id)["status"] == "in_progress"
    held = [{"job_id": job_id, "attempt": 1}]
    beat = worker.post("/v1/leases/heartbeat", json={"worker": "w1", "held": held}).json()
    assert (beat["held"], beat["renew_within_seconds"]) == ([{**held[0], "verdict": "go_on"}], 10)
    assert tell(worker, lease, "progress", fraction=0.5).json() == {"recorded": True, "cancel_requested": False}
    assert tell(worker, lease, "log", lines=["half way"]).json()["recorded"]
    step = tell(worker, lease, "step", step="charge", output={"id": "ch_1"}).json()
    assert step == {"step": "charge", "key": f"{job_id}/charge", "output": {"id": "ch_1"}, "already": False}
    ended = tell(worker, lease, "complete", result={"sent": True}, usage={"units": {"tokens": 3}})
    assert (ended.json()["ending"], ended.json()["status"]) == ("completed", "completed")
    assert ended.headers["Jobledger-Position"] == ended.json()["position"]
    assert tell(worker, lease, "complete", result={"sent": True}).json()["repeated"]
    assert jobs.show(job_id)["result"] == {"sent": True}
    history = jobs.client.get(f"{TENANT}/jobs/{job_id}/history").json()["events"]
    assert [event["why"] for event in history if event["topic"] == "job.started"] == [
        "attempt 1, code 2026.11.3, lease 30 s"
    ]
    assert worker.post("/v1/leases/retire", json={"worker": "w1"}).json() == {"given_back": 0}


def test_a_completion_takes_the_next_job(jobs: Jobs, worker: httpx.Client) -> None:
    """With one request, where the worker asks for it; a claim that is refused leaves the completion recorded."""
    first, second = (jobs.dispatch("invoice.send", number=number) for number in range(2))
    (lease,) = claim(worker, jobs.queue)
    following = {"queues": [jobs.queue], "types": ["invoice.send"]}
    told = tell(worker, lease, "complete", result={"sent": True}, claim=following).json()
    assert (lease["job_id"], told["status"]) == (first, "completed")
    (lease,) = told["leases"]
    assert (lease["job_id"], lease["attempt"], lease["payload"]) == (second, 1, {"number": 1})
    told = tell(worker, lease, "complete", result={"sent": True}, claim={**following, "types": ["no.such"]}).json()
    assert (told["status"], told["leases"]) == ("completed", [])
    assert tell(worker, lease, "complete", result={"sent": True}).json()["leases"] is None


def test_what_an_attempt_leaves_is_there_for_the_next(jobs: Jobs, worker: httpx.Client) -> None:
    """Released, put off, failed: as told; steps that were recorded come with the next claim."""
    job_id = jobs.dispatch("invoice.send")
    (lease,) = claim(worker, jobs.queue)
    tell(worker, lease, "step", step="charge", output=1)
    assert tell(worker, lease, "release").json()["status"] == "pending"
    (lease,) = claim(worker, jobs.queue)
    assert [(step["step"], step["output"]) for step in lease["steps"]] == [("charge", 1)]
    assert tell(worker, lease, "snooze", delay_seconds=0).json()["status"] == "delayed"
    (lease,) = claim(worker, jobs.queue, wait_seconds=20)
    failed = tell(worker, lease, "fail", error_type="SmtpError", message="451", never_retry=True).json()
    assert (failed["ending"], failed["status"]) == ("failed", "dlq")
    assert (jobs.show(job_id)["error_type"], jobs.show(job_id)["attempt"]) == ("SmtpError", 3)


def test_what_holds_nul_is_not_taken(jobs: Jobs, worker: httpx.Client) -> None:
    """Neither as a result nor as a step's output: nothing is recorded, and the attempt goes on."""
    job_id = jobs.dispatch("invoice.send")
    (lease,) = claim(worker, jobs.queue)
    version = jobs.show(job_id)["version"]
    for what, fields, field in (
        ("complete", {"result": {"sent": "a\x00b"}}, "result.sent"),
        ("step", {"step": "s", "output": ["\x00"]}, "output.0"),
    ):
        refused = tell(worker, lease, what, **fields)
        assert (refused.status_code, refused.json()["field"]) == (422, field), refused.text
    assert jobs.show(job_id)["version"] == version
    assert tell(worker, lease, "complete", result={"sent": "\\u0000"}).json()["ending"] == "completed"


def test_an_attempt_is_its_workers(server: RunningServer, jobs: Jobs, worker: httpx.Client) -> None:
    """Another key is told that it does not hold it; one of no tenant of its own, that there is no such tenant; one that
    is no worker, that it may not."""
    jobs.dispatch("invoice.send")
    (lease,) = claim(worker, jobs.queue)
    expected = {
        (Role.WORKER, "acme"): (409, "lease_lost"), (Role.WORKER, "other"): (404, "unknown_tenant"),
        (Role.EMITTER, "acme"): (403, "not_permitted"),
    }  # fmt: skip
    for (role, tenant), answer in expected.items():
        with server.client(new_key(server, Grant(role=role, tenants=frozenset({tenant})))) as other:
            told = tell(other, lease, "complete", result={"sent": True})
            assert (told.status_code, told.json()["code"]) == answer
    assert tell(worker, lease, "complete", result={"sent": True}).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("leases/claim", {"worker": "a/b"}, "worker"), ("leases/claim", {"worker": "w", "limit": 101}, "limit"),
        ("leases/claim", {"worker": "w", "wait_seconds": 31}, "wait_seconds"),
        ("leases/claim", {"worker": "w", "queues": []}, "queues"), ("leases/claim", {"worker": "w", "k": 1}, "k"),
        ("leases/claim", {"worker": "w", "types": ["no.such"]}, "types"),
        ("leases/claim", {"worker": "w", "types": ["No Such"]}, "types.0"),
        ("leases/heartbeat", {"worker": "w", "held": [{"job_id": "x", "attempt": 1}]}, "held.0.job_id"),
        ("job-types", {"app": "a", "code_version": "1", "definitions": [{"name": "No"}]}, "definitions.0.name"),
        (f"tenants/acme/jobs/{UUID(int=1)}/attempts/1/complete", {"worker": "w", "usage": {"units": {"t": 1e300}}},
         "usage.units.t"),
        (f"tenants/acme/jobs/{UUID(int=1)}/attempts/0/release", {"worker": "w"}, "path.attempt"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(worker: httpx.Client, path: str, body: dict[str, Any], field: str) -> None:
    """With a problem that names the member of the body."""
    refused = worker.post(f"/v1/{path}", json=body)
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
    assert refused.json()["field"] == field


def test_the_documented_registration_is_taken(server: RunningServer) -> None:
    """What the how-to shows publishes a job type; a second time it changes nothing."""
    page = (ROOT / "docs" / "how-to" / "workers-in-any-language.md").read_text(encoding="utf-8")
    (command,) = [block for block in page.split("```sh\n")[1:] if "/v1/job-types" in block]
    publisher = new_key(server, Grant(role=Role.WORKER))
    environment = {"PATH": os.environ["PATH"], "JOBS_URL": server.url, "JOBS_KEY": publisher}
    said = [
        subprocess.run(
            ["/bin/sh", "-c", command.split("```")[0]], env=environment, capture_output=True, text=True, check=True,
            timeout=WAIT_SECONDS,
        ).stdout
        for _ in range(2)
    ]  # fmt: skip
    assert ['"changed":["invoice.render"]' in one for one in said] == [True, False]


@pytest.mark.parametrize(
    "schema", [{"type": "objekt"}, {"$ref": "http://127.0.0.1:1/schema"}, {"$ref": "#/$defs/no"}, {"pattern": "("}]
)
def test_a_schema_that_cannot_be_used_is_refused(server: RunningServer, jobs: Jobs, schema: dict[str, Any]) -> None:
    """One that is none, or refers to what is not in it: nothing is ever fetched."""
    definition = {"name": "bad.schema", "effects": "none", "payload_schema": schema, "result_schema": OBJECT}
    with server.client(new_key(server, Grant(role=Role.WORKER))) as publisher:
        refused = publisher.post("/v1/job-types", json={"app": "a", "code_version": "1", "definitions": [definition]})
    assert refused.status_code == 422, refused.text
    assert refused.json()["field"].startswith("definitions.0.payload_schema")


# --- waiting ---------------------------------------------------------------------------------------------------------


def test_more_workers_wait_than_there_are_threads(server: RunningServer, jobs: Jobs, key: str) -> None:
    """None of them holds a thread: requests are answered meanwhile, and each job that comes wakes somebody."""
    waiting = THREADS + 20
    wishes = {"worker": "many", "queues": [jobs.queue], "wait_seconds": 30}

    async def work() -> list[str]:
        limits = httpx.Limits(max_connections=waiting)
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=server.url, headers=headers, limits=limits, timeout=60) as client:
            claims = [asyncio.ensure_future(client.post("/v1/leases/claim", json=wishes)) for _ in range(waiting)]
            await asyncio.sleep(0)
            await asyncio.to_thread(lambda: [jobs.dispatch("invoice.send", number=n) for n in range(waiting)])
            answers = await asyncio.gather(*claims)
        return [lease["job_id"] for answer in answers for lease in answer.json()["leases"]]

    claimed = asyncio.run(work())
    assert len(claimed) == len(set(claimed)) == waiting


def test_a_claim_that_nobody_waits_for_any_more_takes_nothing(
    server: RunningServer, jobs: Jobs, worker: httpx.Client, key: str
) -> None:
    """A connection that was closed gets no job that others are then kept from."""
    headers, wishes = {"Authorization": f"Bearer {key}"}, {"worker": "w0", "queues": [jobs.queue], "wait_seconds": 30}
    with httpx.Client(base_url=server.url, headers=headers, timeout=0.2) as impatient, pytest.raises(httpx.ReadTimeout):
        impatient.post("/v1/leases/claim", json=wishes)
    job_id = jobs.dispatch("invoice.send")
    (lease,) = claim(worker, jobs.queue, wait_seconds=20)
    assert lease["job_id"] == job_id


def test_a_server_that_stops_answers_who_waits(sqlite_url: str, tmp_path: Path) -> None:
    """With nothing, at once: they ask another server."""
    with running_server(sqlite_url, tmp_path) as server, ThreadPoolExecutor(1) as threads:
        key = new_key(server, Grant(role=Role.WORKER))
        with server.client(key) as worker:
            waiting = threads.submit(claim, worker, "default", wait_seconds=30)
            until(lambda: bool(_workers(server)), "its claim did not come")
            server.process.send_signal(signal.SIGTERM)
            assert waiting.result(WAIT_SECONDS) == []


def test_a_server_rescues_what_silent_workers_leave(sqlite_url: str, tmp_path: Path) -> None:
    """Nobody else has to run: a job whose worker sends no heartbeats is ready for others once its lease ran out."""
    settings = {"JOBLEDGER_MAINTENANCE_INTERVAL_SECONDS": "1"}
    with running_server(sqlite_url, tmp_path, settings=settings) as server, server.client() as client:
        key = new_key(server, Grant(role=Role.WORKER))
        client.post("/v1/tenants", json={"name": "acme", "reason": "a customer"})
        with server.client(key) as worker:
            publish(server, key)
            job_id = Jobs(client, "default").dispatch("invoice.send")
            assert claim(worker, "default", lease_seconds=5)[0]["attempt"] == 1
            (lease,) = worker.post("/v1/leases/claim", json={"worker": "w2", "wait_seconds": 30}).json()["leases"]
            assert (lease["job_id"], lease["attempt"]) == (job_id, 2)


# --- the examples ----------------------------------------------------------------------------------------------------


@contextmanager
def running(
    server: RunningServer, key: str, queue: str, folder: Path, *command: str
) -> Iterator[subprocess.Popen[str]]:
    """An example worker; killed at the end if it still runs, with whatever it started."""
    environment = {
        "PATH": os.environ["PATH"], "JOBS_URL": server.url, "JOBS_KEY": key, "JOBS_QUEUE": queue,
        "HEARTBEAT_SECONDS": "0.2", "TMPDIR": str(folder),
    }  # fmt: skip
    with ExitStack() as ending:
        log = ending.enter_context((folder / "worker.log").open("w"))
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, text=True, start_new_session=True)
        ending.callback(process.wait, WAIT_SECONDS)
        ending.callback(_kill_group, process)
        yield process


def _kill_group(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _log_of(jobs: Jobs, job_id: str, server: RunningServer) -> str:
    handle = open_ledger(load(database=server.database))
    try:
        events = handle.ports.reader.stream("acme", UUID(job_id), bodies=True)
        return "\n".join(event.body.decode() for event in events if event.topic == "job.logged" and event.body)
    finally:
        handle.close()


def test_the_worker_in_shell(server: RunningServer, jobs: Jobs, key: str, tmp_path: Path) -> None:
    """What its program prints is the result; exit codes fail, bury or put off; a cancelled one is stopped; stderr is
    the job's log. At SIGTERM it finishes and retires."""
    program = tmp_path / "send-invoice"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    names = ("42", "wrong", "later", "broken", "odd")
    ids = {name: jobs.dispatch("invoice.send", invoice_id=name) for name in names}
    command = ("/bin/sh", str(EXAMPLES / "worker.sh"), "invoice.send", str(program))
    with running(server, key, jobs.queue, tmp_path, *command) as process:
        ended = {name: jobs.until(ids[name], "completed", "dlq", "delayed") for name in names}
        slow = jobs.dispatch("invoice.send", invoice_id="slow")
        jobs.until(slow, "in_progress")
        jobs.cancel(slow)
        jobs.until(slow, "cancelled")
        process.send_signal(signal.SIGTERM)
        last = jobs.dispatch("invoice.send", invoice_id="43")  # wakes it from its wait
        assert process.wait(WAIT_SECONDS) == 0, (tmp_path / "worker.log").read_text()
    assert ended["42"]["result"] == {"sent": True}
    assert {name: ended[name]["status"] for name in names} == {
        "42": "completed", "wrong": "dlq", "later": "delayed", "broken": "delayed", "odd": "delayed",
    }  # fmt: skip
    assert (ended["wrong"]["error_type"], ended["wrong"]["error_message"]) == ("ExitCode65", 'it is "wrong"')
    assert ended["broken"]["error_message"] == "a\tback\\slash"
    assert ended["odd"]["error_type"] == "ResultInvalid"
    assert (ended["later"]["failed"], ended["later"]["attempts_counted"]) == (False, 0)
    assert 'it is "wrong"' in _log_of(jobs, ids["wrong"], server)
    assert jobs.show(last)["status"] in ("completed", "pending")
    workers = [row.heartbeat.worker for row in _workers(server)]
    assert not [name for name in workers if "/sh-" in name]
    assert not list(tmp_path.glob("tmp.*"))


def _workers(server: RunningServer) -> list[Any]:
    handle = open_ledger(load(database=server.database))
    try:
        return handle.ports.queue.workers()
    finally:
        handle.close()


def test_the_worker_in_node(server: RunningServer, jobs: Jobs, key: str, tmp_path: Path) -> None:
    """Steps, progress and log lines of several jobs at a time; errors say whether and when to try again; a cancelled
    one is told so. At SIGTERM it finishes and retires."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("THE WORKER IN NODE WAS NOT TESTED: there is no `node` on the PATH of this machine")
    render = jobs.dispatch("invoice.pages", invoice_id="42", pages=3)
    refused = jobs.dispatch("invoice.post", invoice_id="7", refused=True)
    busy = jobs.dispatch("invoice.post", invoice_id="8", busy=True)
    slow = jobs.dispatch("invoice.post", invoice_id="9", seconds=60)
    with running(server, key, jobs.queue, tmp_path, node, str(EXAMPLES / "worker.mjs")) as process:
        assert jobs.until(render, "completed")["result"] == {"files": ["42-1.pdf", "42-2.pdf", "42-3.pdf"]}
        assert jobs.until(refused, "dlq")["error_type"] == "NeverRetry"
        assert jobs.until(busy, "completed")["attempts_counted"] == 2
        jobs.until(slow, "in_progress")
        jobs.cancel(slow)
        jobs.until(slow, "cancelled")
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0, (tmp_path / "worker.log").read_text()
    assert jobs.show(render)["progress"] == 1.0
    assert "rendered 3 pages" in _log_of(jobs, render, server)
    assert not [row for row in _workers(server) if "/node-" in row.heartbeat.worker]


def test_example_workers_end_while_the_server_is_away(sqlite_url: str, tmp_path: Path) -> None:
    """Told to stop, they finish their jobs, try for a few seconds to tell, and end: nobody waits for a server."""
    program = tmp_path / "send-invoice"
    program.write_text(f"#!/bin/sh\nuntil [ -e {tmp_path}/go ]; do sleep 0.1; done\necho '{{}}'\n")
    program.chmod(0o755)
    node = shutil.which("node")
    commands: dict[str, tuple[str, ...]] = {
        "invoice.send": ("/bin/sh", str(EXAMPLES / "worker.sh"), "invoice.send", str(program))
    }
    if node is not None:
        commands["invoice.post"] = (node, str(EXAMPLES / "worker.mjs"))
    with ExitStack() as ending:
        server = ending.enter_context(running_server(sqlite_url, tmp_path))
        jobs, key = Jobs(ending.enter_context(server.client()), "default"), new_key(server, Grant(role=Role.WORKER))
        jobs.client.post("/v1/tenants", json={"name": "acme", "reason": "a customer"})
        publish(server, key)
        workers = []
        for job_type, command in commands.items():
            folder = tmp_path / job_type
            folder.mkdir()
            workers.append(ending.enter_context(running(server, key, "default", folder, *command)))
            jobs.until(jobs.dispatch(job_type, seconds=1), "in_progress")
        server.process.kill()
        server.process.wait(WAIT_SECONDS)
        for process in workers:
            process.send_signal(signal.SIGTERM)
        (tmp_path / "go").touch()
        assert [process.wait(WAIT_SECONDS) for process in workers] == [0] * len(workers)
