"""`isolation="process"` on real ledgers: what handlers do to their process costs one attempt of one job, at most."""

from __future__ import annotations

import json
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import psycopg
import pytest
from pydantic import BaseModel

from jobledger import App, JobContext, JobStatus, Ledger
from jobledger.application.worker import RunResult, WorkerEvent, WorkerEventName
from jobledger.domain.errors import InvalidInput
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import (
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobInterrupted,
    JobProgressed,
    JobSnoozed,
    JobStarted,
)
from jobledger.infrastructure.service import Service
from tests.support.cli import Cli
from tests.support.process_app import app
from tests.support.processes import is_gone
from tests.support.waiting import until

TENANT = "acme"
WAIT_SECONDS = 30.0


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a ledger for this test alone, on each engine."""
    if request.param == "postgres":
        dsn: str = request.getfixturevalue("postgres_dsn")
        return dsn
    return f"sqlite:///{tmp_path}/ledger.db"


class Opened:
    """An open ledger with a tenant."""

    def __init__(self, url: str) -> None:
        self.ledger = Ledger.open(url, app=app, create=True)
        self.ledger.tenants.create(TENANT, reason="a customer")

    def dispatch(self, job_type: str, payload: dict[str, object], **options: float) -> UUID:
        """Dispatch a job; its id."""
        return self.ledger.dispatch(job_type, payload, tenant=TENANT, **options).job_id  # type: ignore[arg-type]

    def history(self, job_id: UUID) -> tuple[RecordedEvent, ...]:
        """All its events, with bodies."""
        return self.ledger.jobs.history(job_id, tenant=TENANT, bodies=True).events

    def last(self, job_id: UUID, kind: type) -> RecordedEvent:
        """Its last event of a kind."""
        return [event for event in self.history(job_id) if isinstance(event.facts, kind)][-1]

    def failure(self, job_id: UUID) -> JobFailed:
        """How its last failed attempt failed."""
        facts = self.last(job_id, JobFailed).facts
        assert isinstance(facts, JobFailed)
        return facts

    def log(self, job_id: UUID) -> str:
        """Everything it logged."""
        bodies = [event.body for event in self.history(job_id) if event.topic == "job.logged"]
        return b"\n".join(body for body in bodies if body is not None).decode()

    def status(self, job_id: UUID) -> JobStatus:
        """Where it stands."""
        return self.ledger.jobs.get(job_id, tenant=TENANT).status

    def drain(self, concurrency: int = 4) -> None:
        """Run everything that is ready."""
        assert self.ledger.worker(app, concurrency=concurrency, drain=True).run() is RunResult.DRAINED


@pytest.fixture
def opened(database: str) -> Iterator[Opened]:
    """A ledger on each engine."""
    opened = Opened(database)
    yield opened
    opened.ledger.close()


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Opened]:
    """A ledger where the engine makes no difference."""
    opened = Opened(f"sqlite:///{tmp_path}/ledger.db")
    yield opened
    opened.ledger.close()


class Files(NamedTuple):
    """What a handler and its test tell each other."""

    folder: Path

    @property
    def payload(self) -> dict[str, object]:
        """For `process_app.Files`."""
        return {"started": str(self.folder / "started"), "release": str(self.folder / "release")}

    def processes(self) -> list[int]:
        """Wait until the handler says that it runs; its process, then those that it started."""
        until((self.folder / "started").exists)
        text = (self.folder / "started").read_text()
        (self.folder / "started").unlink()
        return [int(process) for process in text.split()]

    def release(self) -> None:
        """Let handlers end."""
        (self.folder / "release").touch()


@contextmanager
def running(service: Service) -> Iterator[Callable[[WorkerEventName, UUID], None]]:
    """A worker that runs during the block; call what it yields to wait until it has told something of a job."""
    changed, seen = threading.Condition(), set[tuple[WorkerEventName, UUID | None]]()

    def hear(event: WorkerEvent) -> None:
        with changed:
            seen.add((event.name, event.job_id))
            changed.notify_all()

    def wait_for(name: WorkerEventName, job_id: UUID) -> None:
        with changed:
            assert changed.wait_for(lambda: (name, job_id) in seen, WAIT_SECONDS), seen

    service.events.on_any(hear)
    service.start()
    try:
        yield wait_for
    finally:
        service.request_stop_now()
        assert service.close(WAIT_SECONDS)


# --- one worker for many ways to end -----------------------------------------------------------------------------


class Endings(NamedTuple):
    """What became of one job of each kind, run by one worker."""

    opened: Opened
    job_ids: dict[str, UUID]
    hanging: list[int]


WAYS = (
    "exit", "segmentation fault", "kill", "system exit", "unpicklable", "snooze", "fork", "close streams",
    "close everything", "long message",
)  # fmt: skip


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endings]:
    """Everything that a handler may do to its process, one after the other and beside each other."""
    folder = tmp_path_factory.mktemp("endings")
    opened, files = Opened(f"sqlite:///{folder}/ledger.db"), Files(folder)
    job_ids = {way: opened.dispatch("child.ends", {"what": way}) for way in WAYS}
    job_ids["one piece"] = opened.dispatch("child.grows", {"number": 1})
    job_ids["grown"] = opened.dispatch("child.grows", {"number": 0})
    job_ids["hangs"] = opened.dispatch("child.hangs", files.payload)
    job_ids["echo"] = opened.dispatch("child.echo", {"number": 7}, priority=-100)
    opened.drain()
    yield Endings(opened, job_ids, files.processes())
    opened.ledger.close()


@pytest.mark.parametrize(
    ("way", "error_type", "message"),
    [
        ("exit", "ChildCrashed", "the child process exited with code 3"),
        ("segmentation fault", "ChildCrashed", "the child process was killed by SIGSEGV"),
        ("kill", "ChildCrashed", "the child process was killed by SIGKILL"),
        ("close everything", "ChildCrashed", "the child process lost its connection to the worker"),
        ("system exit", "SystemExit", "4"),
        ("unpicklable", "Unpicklable", "1 and 2"),
        ("long message", "NotImplementedError", "xxx"),
    ],
)
def test_an_end_of_the_process_is_a_failure_of_its_attempt(
    endings: Endings, way: str, error_type: str, message: str
) -> None:
    """Exit codes and signals stand in the ledger, and what the handler had logged by then."""
    failure = endings.opened.failure(endings.job_ids[way])
    assert (failure.error_type, failure.message[: len(message)]) == (error_type, message)
    assert "the last words" in endings.opened.log(endings.job_ids[way])


@pytest.mark.parametrize("opened_instead", [0, 64])
def test_a_connection_closed_while_it_is_read_is_told_as_such(on_sqlite: Opened, opened_instead: int) -> None:
    """The thread that reads what the worker says (here: the soft timeout) does not take its own closed end, nor a file
    in its place, for the worker's death."""
    job_id = on_sqlite.dispatch("child.closes", {"number": opened_instead})
    on_sqlite.drain()
    failure = on_sqlite.failure(job_id)
    assert failure.error_type == "ChildCrashed"
    assert failure.message.startswith("the child process lost its connection to the worker")


def test_a_segmentation_fault_says_where_it_happened(endings: Endings) -> None:
    """The dying interpreter's traceback is the failure's."""
    trace = endings.opened.last(endings.job_ids["segmentation fault"], JobFailed).body
    assert trace is not None and b"in _segmentation_fault" in trace


@pytest.mark.parametrize("way", ["fork", "close streams"])
def test_what_the_process_survives_completes_its_job(endings: Endings, way: str) -> None:
    """A handler that forks, and one that closes its streams, complete once."""
    events = endings.opened.history(endings.job_ids[way])
    assert [event.topic for event in events if event.topic != "job.logged"] == [
        "job.dispatched", "job.started", "job.completed"
    ]  # fmt: skip
    assert "from the copy" not in endings.opened.log(endings.job_ids[way])


def test_a_handler_in_a_process_can_snooze(endings: Endings) -> None:
    """Snooze ends the attempt without counting it."""
    snoozed = endings.opened.last(endings.job_ids["snooze"], JobSnoozed).facts
    assert isinstance(snoozed, JobSnoozed) and snoozed.why == "tomorrow"


def test_asking_for_too_much_memory_at_once_fails_in_the_handler(endings: Endings) -> None:
    """RLIMIT_AS refuses one allocation beyond the limit: MemoryError, with its traceback."""
    assert endings.opened.failure(endings.job_ids["one piece"]).error_type == "MemoryError"


def test_holding_more_memory_than_the_limit_ends_the_process(endings: Endings) -> None:
    """What is really used is watched, and named in the failure with its cost."""
    failure = endings.opened.failure(endings.job_ids["grown"])
    assert failure.error_type == "MemoryLimitExceeded"
    assert "more than its limit of 400 MB" in failure.message
    assert failure.usage.cpu_seconds > 0


def test_a_hard_timeout_ends_all_that_the_handler_started(endings: Endings) -> None:
    """The process, its child, one in a session of its own, and an orphan in such a session are gone."""
    assert endings.opened.failure(endings.job_ids["hangs"]).error_type == "Timeout"
    assert len(endings.hanging) == 4
    until(lambda: all(is_gone(process) for process in endings.hanging))


def test_the_worker_outlives_all_of_that(endings: Endings) -> None:
    """One worker ran them all, and then one more."""
    events = [event.facts for job_id in endings.job_ids.values() for event in endings.opened.history(job_id)]
    assert len({facts.worker for facts in events if isinstance(facts, JobStarted)}) == 1
    assert endings.opened.status(endings.job_ids["echo"]) is JobStatus.COMPLETED


# --- what a handler can use --------------------------------------------------------------------------------------


def test_a_context_in_a_child_offers_all_that_one_in_a_thread_does(opened: Opened) -> None:
    """Progress, log, usage, steps, dispatches, a failure with its traceback, then a result; all in the ledger."""
    job_id = opened.dispatch("child.reports", {"number": 5})
    opened.drain()
    events = opened.history(job_id)
    topics = [event.topic.removeprefix("job.") for event in events]
    assert topics.count("step_recorded") == 1
    assert [topic for topic in topics if topic not in ("progressed", "logged", "step_recorded")] == [
        "dispatched", "started", "failed", "retried", "started", "completed"
    ]  # fmt: skip
    assert {event.facts.fraction for event in events if isinstance(event.facts, JobProgressed)} == {0.5}
    assert "info here number=5" in opened.log(job_id)
    failed, completed = opened.last(job_id, JobFailed), opened.last(job_id, JobCompleted)
    assert failed.body is not None and b'raise RuntimeError("after the first step")' in failed.body
    assert isinstance(completed.facts, JobCompleted) and completed.facts.usage.units == {"tokens": 5}
    assert completed.facts.usage.cpu_seconds > 0
    assert completed.body is not None
    first, *children = json.loads(completed.body)
    assert first == "attempt 1"
    for child in children:
        assert opened.status(UUID(child)) is JobStatus.COMPLETED
        assert opened.history(UUID(child))[0].causation_id is not None


def test_a_child_that_logs_megabytes_is_cut_short(on_sqlite: Opened) -> None:
    """The job's log is capped, and what is no progress is refused in the handler."""
    job_id = on_sqlite.dispatch("child.logs", {"number": 100})
    on_sqlite.drain()
    assert on_sqlite.status(job_id) is JobStatus.COMPLETED
    log = on_sqlite.log(job_id)
    assert log.count("refused: fraction") == 3
    assert 500_000 < len(log) < 1_100_000
    assert "the log of this job is full" in log


SECRET = 'sk-3f"9ä/\\key of acme'


@pytest.mark.parametrize(
    ("what", "error_type"),
    [("result", "ResultInvalid"), ("step", "InvalidInput"), ("dispatch", "InvalidInput"), ("error", "RuntimeError")],
)
def test_a_secret_that_a_child_was_given_stays_out_of_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, error_type: str
) -> None:
    """It is asked for through the worker, which keeps it out of logs, notes, errors, steps and dispatches."""
    vault = tmp_path / "secrets.json"
    vault.write_text(json.dumps({"gateway": SECRET}))
    vault.chmod(0o600)
    monkeypatch.setenv("JOBLEDGER_SECRETS_FILE", str(vault))
    opened = Opened(f"sqlite:///{tmp_path}/ledger.db")
    job_id = opened.dispatch("child.secret", {"what": what})
    opened.drain()
    assert opened.failure(job_id).error_type == error_type
    assert "[secret:gateway]" in opened.log(job_id)
    recorded = repr(opened.history(job_id))
    assert not any(form in recorded for form in (SECRET, json.dumps(SECRET)[1:-1], repr(SECRET)[1:-1], "sk-3f"))
    opened.ledger.close()


def test_a_request_to_cancel_reaches_a_child(opened: Opened, tmp_path: Path) -> None:
    """The running handler is told, and the job is cancelled."""
    files = Files(tmp_path)
    job_id = opened.dispatch("child.waits", files.payload)
    with running(opened.ledger.worker(app)) as wait_for:
        files.processes()
        opened.ledger.jobs.cancel(job_id, tenant=TENANT, reason="not wanted any more")
        wait_for(WorkerEventName.CANCELLED, job_id)
    assert isinstance(opened.last(job_id, JobCancelled).facts, JobCancelled)


def test_a_soft_timeout_reaches_a_child(on_sqlite: Opened, tmp_path: Path) -> None:
    """Its handler is told by the context, long before the hard timeout."""
    job_id = on_sqlite.dispatch("child.waits", Files(tmp_path).payload, soft_timeout_seconds=1, timeout_seconds=30)
    on_sqlite.drain()
    assert on_sqlite.failure(job_id).error_type == "SoftTimeout"


@pytest.mark.parametrize(("what", "rows"), [("commits", 1), ("unpicklable", 0), ("exit", 0)])
def test_a_transaction_of_a_child_commits_with_the_completion(postgres_dsn: str, what: str, rows: int) -> None:
    """Effects, steps, reports and completion become durable together; an error or a crash undoes the effects."""
    opened = Opened(postgres_dsn)
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE effects (what text)")
        job_id = opened.dispatch("child.transacts", {"what": what})
        opened.drain()
        assert connection.execute("SELECT count(*) FROM effects").fetchone() == (rows,)
    topics = [event.topic.removeprefix("job.") for event in opened.history(job_id)]
    if what == "commits":
        assert topics == ["dispatched", "started", "step_recorded", "progressed", "logged", "completed"]
    else:
        assert topics == ["dispatched", "started", "progressed", "logged", "failed", "sent_to_dlq"]
    opened.ledger.close()


# --- the pool ----------------------------------------------------------------------------------------------------


def test_a_child_that_is_killed_from_outside_costs_one_attempt(opened: Opened, tmp_path: Path) -> None:
    """SIGKILL while a handler runs: that attempt fails, and the next job runs."""
    files = Files(tmp_path)
    job_id = opened.dispatch("child.waits", files.payload)
    with running(opened.ledger.worker(app)) as wait_for:
        (process,) = files.processes()
        os.kill(process, signal.SIGKILL)
        wait_for(WorkerEventName.ERRORED, job_id)
        after = opened.dispatch("child.echo", {})
        wait_for(WorkerEventName.PROCESSED, after)
    assert opened.failure(job_id).message.startswith("the child process was killed by SIGKILL")


def test_the_loss_of_the_zygote_costs_the_attempts_that_run(on_sqlite: Opened, tmp_path: Path) -> None:
    """The process that starts children is killed: what runs fails, another one is started, and the next job runs."""
    files = Files(tmp_path)
    job_id = on_sqlite.dispatch("child.lingers", files.payload)
    with running(on_sqlite.ledger.worker(app)) as wait_for:
        process, child, *_ = files.processes()
        os.kill(_parent_of(process), signal.SIGKILL)
        wait_for(WorkerEventName.ERRORED, job_id)
        after = on_sqlite.dispatch("child.echo", {})
        wait_for(WorkerEventName.PROCESSED, after)
    assert on_sqlite.failure(job_id).error_type == "ChildCrashed"
    until(lambda: is_gone(process) and is_gone(child))


def test_a_child_is_replaced_after_so_many_jobs(
    on_sqlite: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a limit of two, five jobs see at least three processes, none of them more than twice."""
    monkeypatch.setenv("JOBLEDGER_PROCESS_MAX_JOBS", "2")
    opened = Opened(f"sqlite:///{tmp_path}/limited.db")
    job_ids = [opened.dispatch("child.echo", {"number": number}) for number in range(5)]
    opened.drain(concurrency=1)
    processes = [_result(opened, job_id)["process"] for job_id in job_ids]
    assert max(processes.count(process) for process in processes) == 2
    assert len(set(processes)) == 3
    opened.ledger.close()


@pytest.mark.parametrize("left", ["process", "streams", "trap"])
def test_what_a_handler_leaves_behind_meets_no_other_job(on_sqlite: Opened, left: str) -> None:
    """A child whose handler left a process, or closed its streams, is replaced, and what it left is ended with it. One
    that dies before it calls the next handler costs that job no attempt."""
    job_ids = [on_sqlite.dispatch("child.leaves", {"what": what}) for what in ("nothing", "nothing", left, "nothing")]
    on_sqlite.drain(concurrency=1)
    first, second, third, fourth = (_result(on_sqlite, job_id) for job_id in job_ids)
    assert first["process"] == second["process"] == third["process"] != fourth["process"]
    assert (third["left"] > 0) == (left == "process")
    until(lambda: is_gone(third["process"]) and is_gone(third["left"] or third["process"]))
    started = [event for event in on_sqlite.history(job_ids[-1]) if isinstance(event.facts, JobStarted)]
    assert len(started) == 1


def test_an_idle_child_that_dies_costs_no_attempt(on_sqlite: Opened) -> None:
    """Children that are killed between two jobs are replaced, and the next job runs in its first attempt."""
    first = on_sqlite.dispatch("child.echo", {})
    with running(on_sqlite.ledger.worker(app, concurrency=1)) as wait_for:
        wait_for(WorkerEventName.PROCESSED, first)
        os.kill(_result(on_sqlite, first)["process"], signal.SIGKILL)
        second = on_sqlite.dispatch("child.echo", {})
        wait_for(WorkerEventName.PROCESSED, second)
    completed = on_sqlite.last(second, JobCompleted).facts
    assert isinstance(completed, JobCompleted) and completed.attempt == 1
    assert _result(on_sqlite, first)["process"] != _result(on_sqlite, second)["process"]


def test_a_memory_limit_below_the_program_itself_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No job could ever run under it: the worker ends before it claims one."""
    monkeypatch.setenv("JOBLEDGER_PROCESS_MEMORY_LIMIT_MB", "1")
    opened = Opened(f"sqlite:///{tmp_path}/limited.db")
    job_id = opened.dispatch("child.echo", {})
    assert opened.ledger.worker(app).run() is RunResult.FAILED
    assert opened.status(job_id) is JobStatus.PENDING
    opened.ledger.close()


def test_jobs_that_wait_for_a_child_keep_no_other_jobs_waiting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One child, and four slots: a thread's job runs while process jobs queue for the child, which all run then."""
    monkeypatch.setenv("JOBLEDGER_PROCESS_POOL_SIZE", "1")
    opened, files = Opened(f"sqlite:///{tmp_path}/limited.db"), Files(tmp_path)
    waiting = [opened.dispatch("child.waits", files.payload, priority=50) for _ in range(6)]
    with running(opened.ledger.worker(app, concurrency=4)) as wait_for:
        files.processes()
        beside = opened.dispatch("thread.echo", {})
        wait_for(WorkerEventName.PROCESSED, beside)
        assert [opened.status(job_id) for job_id in waiting].count(JobStatus.IN_PROGRESS) == 1
        files.release()
        for job_id in waiting:
            wait_for(WorkerEventName.PROCESSED, job_id)
    opened.ledger.close()


# --- the program -------------------------------------------------------------------------------------------------


class Payload(BaseModel):
    """Anything."""


def test_an_app_that_no_module_holds_is_refused(tmp_path: Path) -> None:
    """A child could not import it: the worker is refused before it begins."""
    local = App("local")

    @local.job("local.one", effects="none", isolation="process")
    def handler(_context: JobContext, _payload: Payload) -> None: ...

    url = f"sqlite:///{tmp_path}/ledger.db"
    with Ledger.open(url, app=local, create=True) as ledger, pytest.raises(InvalidInput) as refused:
        ledger.worker(local)
    assert refused.value.field == "isolation"
    assert "module" in (refused.value.hint or "")


def test_a_job_that_importing_does_not_declare_ends_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A handler declared at run time is not there in another process: the worker says so instead of claiming jobs."""
    late = App("late")
    monkeypatch.setattr("tests.support.process_app.late", late, raising=False)

    @late.job("late.one", effects="none", isolation="process")
    def handler(_context: JobContext, _payload: Payload) -> None: ...

    monkeypatch.setattr(handler, "__module__", "tests.support.process_app")
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db", app=late, create=True) as ledger:
        assert ledger.worker(late).run() is RunResult.FAILED
    assert "tests.support.process_app:late" in capfd.readouterr().out


# --- worker processes --------------------------------------------------------------------------------------------


@pytest.fixture
def workers(tmp_path: Path, database: str) -> Cli:
    """Starts worker processes; all that they start carry a variable that nothing else has."""
    return Cli(
        tmp_path, database, JOBLEDGER_APP="tests.support.process_app", JOBLEDGER_LOG_LEVEL="error",
        JOBLEDGER_SHUTDOWN_GRACE_SECONDS="0.2", JOBLEDGER_ENV="development", TEST_MARKER=uuid.uuid4().hex,
    )  # fmt: skip


def test_nothing_of_a_killed_worker_is_left(opened: Opened, workers: Cli, tmp_path: Path) -> None:
    """SIGKILL to a worker: its zygote, its children and all that they started are gone soon after."""
    files = Files(tmp_path)
    opened.dispatch("child.lingers", files.payload)
    with workers.running("work") as worker:
        assert len(files.processes()) == 4
        assert len(_marked(workers)) >= 6  # worker, zygote, child and what that started
        worker.process.kill()
        worker.wait()
        until(lambda: not _marked(workers))


def test_sigterm_gives_back_what_a_child_runs(opened: Opened, workers: Cli, tmp_path: Path) -> None:
    """When the grace period is over the job is given back, uncounted, and no process is left."""
    files = Files(tmp_path)
    job_id = opened.dispatch("child.lingers", files.payload)
    with workers.running("work") as worker:
        files.processes()
        answer = worker.stop()
    assert answer.code == 0, answer
    assert opened.history(job_id)[-1].topic == "job.interrupted"
    assert opened.ledger.jobs.get(job_id, tenant=TENANT).state.attempts_counted == 0
    assert isinstance(opened.last(job_id, JobInterrupted).facts, JobInterrupted)
    assert not _marked(workers)


def test_sigterm_lets_a_child_finish(opened: Opened, workers: Cli, tmp_path: Path) -> None:
    """Within the grace period a handler in a child ends as if nothing had happened."""
    files = Files(tmp_path)
    job_id = opened.dispatch("child.waits", files.payload)
    with workers.with_variables(JOBLEDGER_SHUTDOWN_GRACE_SECONDS="30").running("work") as worker:
        files.processes()
        worker.process.send_signal(signal.SIGTERM)
        files.release()
        assert worker.wait().code == 0
    assert opened.status(job_id) is JobStatus.COMPLETED


def _marked(workers: Cli) -> list[int]:
    """The processes that carry the marker of these workers."""
    marker = f"TEST_MARKER={workers.variables['TEST_MARKER']}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue  # it ended meanwhile
    return found


def _parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def _result(opened: Opened, job_id: UUID) -> dict[str, int]:
    body = opened.last(job_id, JobCompleted).body
    assert body is not None
    result: dict[str, int] = json.loads(body)
    return result
