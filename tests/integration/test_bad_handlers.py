"""Handlers that behave badly: a clear record in their job's history, and the worker completes the next job."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from pydantic import BaseModel

from jobledger import App, JobContext, JobStatus, Ledger, NeverRetry, Retry, RetryAfter
from jobledger.application.worker import WorkerEventName
from jobledger.application.worker.failures import TRACEBACK_BYTES
from jobledger.application.worker.reporting import LOG_LIMIT_BYTES
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobCancelled, JobCompleted, JobFailed, JobLogged, JobRetried, JobSentToDlq, JobSnoozed
from tests.support import bad_handlers
from tests.support.cli import Cli
from tests.support.watched_worker import WAIT_SECONDS

TENANT = "acme"
Handler = Callable[[JobContext, "Payload"], Any]


class Payload(BaseModel):
    """Which one."""

    number: int = 0


class Run:
    """Runs one job of a bad handler, and after it one of a healthy handler, on a worker with a single slot."""

    def __init__(self, ledger: Ledger, app: App) -> None:
        self.ledger = ledger
        self._app = app

    def __call__(self, handler: Handler, *, is_async: bool = False, **options: Any) -> tuple[RecordedEvent, ...]:  # noqa: ANN401
        """The events of the bad job, with bodies."""

        async def coroutine(context: JobContext, payload: Payload) -> object:
            return handler(context, payload)

        def healthy(context: JobContext, payload: Payload) -> str:
            return "fine"

        declare(self._app, "tested.bad", coroutine if is_async else handler, **options)
        declare(self._app, "tested.healthy", healthy)
        job_id = self.ledger.dispatch("tested.bad", {}, tenant=TENANT).job_id
        after = self.ledger.dispatch("tested.healthy", {}, tenant=TENANT).job_id
        self.ledger.worker(self._app, drain=True, concurrency=1).run()
        assert self.ledger.jobs.get(after, tenant=TENANT).status is JobStatus.COMPLETED, "the worker did not go on"
        assert self.ledger.jobs.list(tenant=TENANT).rows, "the lists cannot show it"
        return self.ledger.jobs.history(job_id, tenant=TENANT, bodies=True).events


def declare(app: App, name: str, handler: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401
    """A job type whose failed attempts are not tried again."""
    handler.__annotations__ = {"context": JobContext, "payload": Payload, "return": object}
    app.job(name, effects="none", **{"retry": Retry.never(), **options})(handler)


@pytest.fixture
def app() -> App:
    """An app to declare jobs on."""
    return App("tested", code_version="1")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a ledger for this test alone, on each engine: what a database cannot store differs."""
    if request.param == "postgres":
        dsn: str = request.getfixturevalue("postgres_dsn")
        return dsn
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def run(database: str, app: App) -> Iterator[Run]:
    """Runs bad handlers."""
    with Ledger.open(database, app=app, create=True) as ledger:
        ledger.tenants.create(TENANT, reason="a customer")
        yield Run(ledger, app)


def failure(events: tuple[RecordedEvent, ...]) -> JobFailed:
    """How the attempt failed: once, and for good."""
    names = [event.topic.removeprefix("job.") for event in events]
    assert names[-2:] == ["failed", "sent_to_dlq"]
    assert names.count("started") == names.count("failed") == 1
    failed = events[-2].facts
    assert isinstance(failed, JobFailed)
    assert len(failed.fingerprint) == 16
    return failed


# --- what is raised --------------------------------------------------------------------------------------------------


class _NoStr(Exception):
    def __str__(self) -> str:
        raise SystemExit("not even that")

    __repr__ = __str__


class _OddStr(Exception):
    __str__ = int  # type: ignore[assignment]


class _NoCause(Exception):
    @property
    def __cause__(self) -> None:  # type: ignore[override]
        raise RuntimeError("no cause")


class _NoTraceback(Exception):
    @property
    def __traceback__(self) -> None:  # type: ignore[override]
        raise RuntimeError("no traceback")


class _Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__(threading.Lock())
        self.lock = threading.Lock()

    def __reduce__(self) -> str:
        raise TypeError("cannot be pickled")


class _BadMeta(type):
    def __getattribute__(cls, name: str) -> object:
        if name == "__qualname__":
            raise RuntimeError("no name")
        return super().__getattribute__(name)


class _Nameless(Exception, metaclass=_BadMeta):
    pass


class _BadNotes(Exception):
    __notes__ = 7  # type: ignore[assignment]


def _chain() -> Exception:
    error = Exception("the first of many")
    for number in range(2_000):
        following = Exception(f"number {number}")
        following.__cause__ = error
        error = following
    return error


def _circle() -> Exception:
    one, other = Exception("one"), Exception("other")
    one.__cause__, other.__cause__ = other, one
    return one


def _odd_name() -> Exception:
    odd = type("Odd", (Exception,), {})
    odd.__qualname__ = "O\x00d\ud800d" + "x" * 1_000
    error: Exception = odd("odd")
    return error


def _deep_group() -> BaseException:
    group: BaseException = ValueError("innermost")
    for number in range(50):
        group = BaseExceptionGroup(f"level {number}", [group])
    return group


_RAISED: dict[str, tuple[Callable[[], BaseException], str, str]] = {
    "SystemExit": (lambda: SystemExit(3), "SystemExit", "3"),
    "KeyboardInterrupt": (KeyboardInterrupt, "KeyboardInterrupt", ""),
    "GeneratorExit": (GeneratorExit, "GeneratorExit", ""),
    "CancelledError": (asyncio.CancelledError, "CancelledError", ""),
    "StopIteration": (StopIteration, "", ""),  # a coroutine makes a RuntimeError of it
    "BaseException": (lambda: BaseException("base"), "BaseException", "base"),
    "MemoryError": (MemoryError, "MemoryError", ""),
    "no str": (_NoStr, "_NoStr", "<str() of the _NoStr raised SystemExit>"),
    "odd str": (_OddStr, "_OddStr", "<str() of the _OddStr raised TypeError>"),
    "no cause": (lambda: _NoCause("cause"), "_NoCause", "cause"),
    "no traceback": (lambda: _NoTraceback("trace"), "_NoTraceback", "trace"),
    "no name": (lambda: _Nameless("who"), "Exception", "who"),
    "odd name": (_odd_name, "O\\x00d\\ud800dx", "odd"),
    "odd notes": (lambda: _BadNotes("notes"), "_BadNotes", "notes"),
    "unpicklable": (_Unpicklable, "_Unpicklable", "<unlocked _thread.lock"),
    "NUL and surrogates": (lambda: ValueError("\x00 \ud800"), "ValueError", "\\x00 \\ud800"),
    "huge": (lambda: ValueError("x" * 30_000_000), "ValueError", "xxx"),
    "many causes": (_chain, "Exception", "number 1999"),
    "causes in a circle": (_circle, "Exception", "one"),
    "group": (lambda: ExceptionGroup("some", [ValueError("a"), OSError("b")]), "ExceptionGroup", "some (2 sub-"),
    "wide group": (
        lambda: ExceptionGroup("many", [ValueError("x" * 1_000)] * 5_000), "ExceptionGroup", "many (5000 sub-"),
    "deep group": (_deep_group, "ExceptionGroup", "level 49 (1 sub-exception)"),
}  # fmt: skip


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("what", _RAISED)
@pytest.mark.parametrize("is_async", [False, True], ids=["thread", "async"])
def test_whatever_is_raised_is_recorded(run: Run, what: str, is_async: bool) -> None:
    """Type, message, traceback and fingerprint of anything that can be raised, bounded and storable."""
    make, error_type, message = _RAISED[what]

    def handler(context: JobContext, payload: Payload) -> None:
        raise make()

    events = run(handler, is_async=is_async)
    failed = failure(events)
    assert failed.error_type.startswith(error_type) and failed.message.startswith(message)
    assert len(failed.error_type) <= 200 and len(failed.message) <= 2_000
    trace = events[-2].body
    assert trace and len(trace) <= TRACEBACK_BYTES + 4


@pytest.mark.parametrize("what", ["NUL and surrogates", "odd name", "huge"])
def test_a_database_can_store_whatever_was_raised(run: Run, what: str) -> None:
    """What no database takes as text (NUL, half of a character) is written out; what is huge is cut."""
    make, error_type, message = _RAISED[what]

    def handler(context: JobContext, payload: Payload) -> None:
        raise make()

    failed = failure(run(handler))
    assert failed.error_type.startswith(error_type) and failed.message.startswith(message)
    (dead,) = run.ledger.dlq.list(tenant=TENANT).rows
    assert (dead.error_type, dead.error_message[:40]) == (failed.error_type, failed.message[:40])


# --- what is returned ------------------------------------------------------------------------------------------------


class _Hostile:
    def __getattribute__(self, name: str) -> object:
        raise SystemExit(name)


def _cycle() -> object:
    cycle: list[object] = []
    cycle.append(cycle)
    return cycle


def _nested() -> object:
    value: list[object] = []
    for _ in range(10_000):
        value = [value]
    return value


_RETURNED: dict[str, tuple[Callable[[], object], str]] = {
    "an object": (object, "the result does not fit the job type"),
    "a lock": (threading.Lock, "the result does not fit the job type"),
    "hostile": (_Hostile, "the result does not fit the job type"),
    "a cycle": (_cycle, "result: "),
    "nested": (_nested, "result: "),
    "too large": (lambda: "x" * 300_000, "more than the 256,000 allowed"),
    "half of a character": (lambda: {"a": "\ud800"}, "result: "),
    "bytes": (lambda: {"a": b"\xff\xfe"}, "result: "),
}


@pytest.mark.parametrize("what", _RETURNED)
@pytest.mark.parametrize("is_async", [False, True], ids=["thread", "async"])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_result_that_cannot_be_recorded_fails_the_attempt(run: Run, what: str, is_async: bool) -> None:
    """It is said what is wrong with it; what was returned is not shown."""
    make, message = _RETURNED[what]

    def handler(context: JobContext, payload: Payload) -> object:
        return make()

    failed = failure(run(handler, is_async=is_async))
    assert failed.error_type == "ResultInvalid"
    assert message in failed.message


def test_text_that_is_json_is_stored_as_it_is(run: Run) -> None:
    """A NUL inside of a result is JSON like any, on every engine."""

    def handler(context: JobContext, payload: Payload) -> object:
        return {"text": "\x00 \N{PILE OF POO}"}

    events = run(handler)
    assert isinstance(events[-1].facts, JobCompleted)
    assert events[-1].body in (b'{"text":"\\u0000 \xf0\x9f\x92\xa9"}',)


# --- what is reported ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True], ids=["thread", "async"])
def test_megabytes_of_log_lines_are_capped(run: Run, is_async: bool) -> None:
    """The first megabyte is kept, the last line says that there was more."""

    def handler(context: JobContext, payload: Payload) -> None:
        for number in range(60):
            context.log(f"{number} \x00 \ud800 " + "x" * 100_000)
            context.log("\n".join(["line"] * 10_000))

    events = run(handler, is_async=is_async)
    logged = [event for event in events if isinstance(event.facts, JobLogged)]
    text = b"\n".join(event.body or b"" for event in logged)
    assert isinstance(events[-1].facts, JobCompleted)
    assert LOG_LIMIT_BYTES * 0.9 < len(text) <= LOG_LIMIT_BYTES + 200
    assert text.endswith(b"the log of this job is full; further lines are dropped")


@pytest.mark.parametrize("fraction", [float("nan"), 2.0, -0.1, "half", None, True, 10**400, complex(1, 2)])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_progress_that_is_none_fails_the_attempt(run: Run, fraction: Any) -> None:  # noqa: ANN401
    """The error says what progress is."""

    def handler(context: JobContext, payload: Payload) -> None:
        context.progress(fraction)

    failed = failure(run(handler))
    assert failed.error_type == "InvalidInput" and failed.message.startswith("progress is ")


class _NoText:
    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


@pytest.mark.parametrize(
    "report",
    [
        lambda context: context.progress(0.5, _NoText()), lambda context: context.log(_NoText()),
        lambda context: context.log("fields", field=_NoText()), lambda context: context.log("level", level="loud"),
        lambda context: context.usage("tokens", float("nan")), lambda context: context.step("", int),
        lambda context: context.step("\ud800", int), lambda context: context.step(7, int),
        lambda context: context.step("object", object), lambda context: context.dispatch("no dispatch"),
        lambda context: context.snooze(float("nan"), "never"), lambda context: context.snooze("soon", "later"),
        lambda context: context.secrets[7],
    ],
)  # fmt: skip
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_reports_that_make_no_sense_fail_the_attempt(run: Run, report: Callable[[Any], object]) -> None:
    """Whatever a handler hands to its context, the attempt ends, once, and says why."""

    def handler(context: JobContext, payload: Payload) -> None:
        report(context)

    events = run(handler)
    assert isinstance(events[-1].facts, JobSentToDlq | JobSnoozed)


# --- what a type says about errors -----------------------------------------------------------------------------------


class Refused(ValueError):
    """A kind of ValueError that may pass."""


class RateLimited(Exception):
    """Comes with a delay of its own."""


@pytest.mark.parametrize(
    ("error", "recoverable", "delay_seconds"),
    [
        (ValueError("wrong for ever"), False, None), (UnicodeError("is a ValueError"), False, None),
        (Refused("tomorrow"), True, 86_400.0), (RateLimited("slow down"), True, 30.0), (OSError("away"), True, None),
        (NeverRetry("by its own word"), False, None), (RetryAfter(7.0), True, 7.0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)  # fmt: skip
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_type_says_which_errors_are_final_and_which_wait(
    run: Run, error: Exception, recoverable: bool, delay_seconds: float | None
) -> None:
    """The nearest class of the error decides, unless the handler said it itself; the decision says who asked for it."""

    def handler(context: JobContext, payload: Payload) -> None:
        raise error

    events = run(
        handler, retry=Retry.fixed(max_attempts=3, base_seconds=3_600),
        never_retry=(ValueError, NeverRetry), retry_after={RateLimited: 30, Refused: 86_400},
    )  # fmt: skip
    failed, decided = events[-2].facts, events[-1].facts
    assert isinstance(failed, JobFailed) and failed.recoverable is recoverable
    if not recoverable:
        assert isinstance(decided, JobSentToDlq) and decided.reason == "unrecoverable"
        return
    assert isinstance(decided, JobRetried)
    assert decided.asked_by_handler is (delay_seconds is not None)
    assert delay_seconds in (None, decided.delay_seconds)


# --- a request to cancel ---------------------------------------------------------------------------------------------


def test_a_running_handler_hears_of_a_request_to_cancel(database: str, app: App) -> None:
    """A function sees the flag, a coroutine is interrupted where it waits; both jobs are cancelled."""
    begun = threading.Semaphore(0)
    interrupted: list[str] = []

    def function(context: JobContext, payload: Payload) -> None:
        begun.release()
        for _ in range(10_000):
            context.check_cancelled()
            threading.Event().wait(0.01)

    async def coroutine(context: JobContext, payload: Payload) -> None:
        begun.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            interrupted.append("coroutine")
            raise

    declare(app, "tested.function", function)
    declare(app, "tested.coroutine", coroutine)
    with Ledger.open(database, app=app, create=True) as ledger:
        ledger.tenants.create(TENANT, reason="a customer")
        job_ids = [ledger.dispatch(f"tested.{name}", {}, tenant=TENANT).job_id for name in ("function", "coroutine")]
        heard = _cancelled_while_running(ledger, app, job_ids, begun)
        assert heard == set(job_ids)
        for job_id in job_ids:
            names = [event.topic for event in ledger.jobs.history(job_id, tenant=TENANT).events]
            assert names == ["job.dispatched", "job.started", "job.cancel_requested", "job.cancelled"]
    assert interrupted == ["coroutine"]


def test_a_coroutine_may_finish_although_it_is_interrupted(database: str, app: App) -> None:
    """What it returns after it took the interruption counts: it is interrupted once."""
    begun = threading.Semaphore(0)

    async def coroutine(context: JobContext, payload: Payload) -> str:
        begun.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
        return "tidied up"

    declare(app, "tested.coroutine", coroutine)
    with Ledger.open(database, app=app, create=True) as ledger:
        ledger.tenants.create(TENANT, reason="a customer")
        job_id = ledger.dispatch("tested.coroutine", {}, tenant=TENANT).job_id
        _cancelled_while_running(ledger, app, [job_id], begun)
        last = ledger.jobs.history(job_id, tenant=TENANT, bodies=True).events[-1]
    assert (last.topic, last.body) == ("job.completed", b'"tidied up"')


def _cancelled_while_running(ledger: Ledger, app: App, job_ids: list[UUID], begun: threading.Semaphore) -> set[UUID]:
    """Ask to cancel jobs once they run; the jobs of which the worker told that they were cancelled."""
    service = ledger.worker(app)
    ended, left = set[UUID](), threading.Semaphore(0)

    def note(event: Any) -> None:  # noqa: ANN401 - a WorkerEvent
        if event.name is WorkerEventName.CANCELLED:
            ended.add(event.job_id)
        if event.name in {WorkerEventName.CANCELLED, WorkerEventName.PROCESSED, WorkerEventName.ERRORED}:
            left.release()

    service.events.on_any(note)
    service.start()
    try:
        for _ in job_ids:
            assert begun.acquire(timeout=WAIT_SECONDS)
        for job_id in job_ids:
            ledger.jobs.cancel(job_id, tenant=TENANT, reason="not wanted any more")
        for _ in job_ids:
            assert left.acquire(timeout=WAIT_SECONDS)
    finally:
        service.request_stop_now()
        assert service.close(WAIT_SECONDS)
    return ended


# --- what is done to the process -------------------------------------------------------------------------------------


@pytest.fixture
def programs(database: str, tmp_path: Path) -> Cli:
    """Starts the installed program with the bad handlers, one job at a time."""
    return Cli(
        tmp_path, database, JOBLEDGER_APP="tests.support.bad_handlers", JOBLEDGER_ENV="development",
        JOBLEDGER_CONCURRENCY="1",
    )  # fmt: skip


def work_on(programs: Cli, database: str, name: str, *, healthy: str = "healthy", count: int = 5) -> list[JobStatus]:
    """Run one bad job among healthy ones in a process of its own: what became of it. Asserts on all the rest."""
    traces = programs.directory / "traces"
    traces.mkdir()
    payload = {"directory": str(traces)}
    with Ledger.open(database, app=bad_handlers.app, create=True) as ledger:
        ledger.tenants.create(TENANT, reason="a customer")
        bad = ledger.dispatch(f"bad.{name}", payload, tenant=TENANT, priority=1).job_id
        others = [ledger.dispatch(f"bad.{healthy}", payload, tenant=TENANT).job_id for _ in range(count)]
        answer = programs.program("work", "--drain")
        for job_id in (bad, *others):
            events = ledger.jobs.history(job_id, tenant=TENANT, bodies=True).events
            assert sum(isinstance(event.facts, JobCompleted | JobFailed | JobCancelled) for event in events) == 1
            assert job_id == bad or isinstance(events[-1].facts, JobCompleted)
        ran_in = {line for line in (traces / "healthy").read_text().split() if line}
        assert len((traces / "healthy").read_text().split()) == count, "a job ran twice"
        assert len(ran_in) == 1, "a copy went on to work"
        assert not _left_over(programs.directory), "a copy is still there"
        assert "job.completed" in answer.err, "the log was lost"
        return [ledger.jobs.get(bad, tenant=TENANT).status]


def _left_over(directory: Path) -> list[int]:
    """Processes that were started for this test and still run."""
    found: list[int] = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if (process / "cwd").readlink() == directory and (process / "stat").read_text().split()[2] != "Z":
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("name", bad_handlers.FORKS)
def test_a_copy_that_a_handler_forks_never_works(programs: Cli, database: str, name: str) -> None:
    """However the copy leaves the handler: it ends, and what it shares with the worker stays as it is."""
    healthy = "healthy_async" if name in {"await", "coroutine", "task"} else "healthy"
    assert work_on(programs, database, name, healthy=healthy) == [JobStatus.COMPLETED]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_copy_is_told_that_it_has_no_part_in_the_attempt(programs: Cli, database: str) -> None:
    """Nothing of the context works in a copy: the ledger hears of the worker's own handler only."""
    work_on(programs, database, "report")
    assert len((programs.directory / "traces" / "refused").read_text().split()) == 6


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_copy_leaves_the_transaction_alone(programs: Cli, database: str) -> None:
    """A copy that raises inside of the attempt's transaction neither rolls it back nor closes its connection."""
    assert work_on(programs, database, "fork_in_transaction") == [JobStatus.COMPLETED]
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT number FROM forked").fetchall() == [(1,)]


@pytest.mark.parametrize("name", bad_handlers.CLOSES)
def test_a_handler_that_closes_the_standard_streams_takes_them_from_nobody(
    programs: Cli, database: str, name: str
) -> None:
    """The next jobs print, the log goes on, and no connection to a database gets what is printed."""
    assert work_on(programs, database, name, count=50) == [JobStatus.COMPLETED]


@pytest.mark.parametrize("name", bad_handlers.LOOPS)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_coroutine_that_leaves_the_event_loop_takes_it_from_nobody(programs: Cli, database: str, name: str) -> None:
    """The loop goes on for the coroutines of all other jobs."""
    (status,) = work_on(programs, database, name, healthy="healthy_async")
    assert status is (JobStatus.DLQ if name == "exit_in_task" else JobStatus.COMPLETED)
