"""Live events within a process: nothing missed, nothing twice, and nobody holds the others up."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from jobledger.application.app import App
from jobledger.application.commands import CancelJob, CreateTenant, DispatchJob
from jobledger.application.dispatch_item import Dispatch
from jobledger.application.message import Actor
from jobledger.application.ports import EventBatch, EventReader
from jobledger.domain.errors import LedgerUnavailable
from jobledger.domain.event import RecordedEvent
from jobledger.infrastructure.bootstrap import LedgerHandle, open_ledger
from jobledger.infrastructure.http.feed import EventFeed, Wanted, feeding
from jobledger.infrastructure.http.sse import Pace, follow
from jobledger.infrastructure.service import publish_types
from jobledger.infrastructure.settings import load
from tests.support.http_app import app
from tests.support.postgres import TestCluster
from tests.support.watched_worker import WAIT_SECONDS

ACTOR = Actor(id="test:feed")
QUICK = Pace(heartbeat_seconds=0.01, check_seconds=0.01)
SLOW = Pace(heartbeat_seconds=600, check_seconds=600)


@pytest.fixture(params=["sqlite", "postgres"])
def handle(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerHandle]:
    """An open ledger with the tenants `acme` and `other`."""
    if request.param == "sqlite":
        yield from _opened(f"sqlite:///{tmp_path}/ledger.db", app)
        return
    cluster: TestCluster = request.getfixturevalue("postgres_cluster")
    with cluster.database(migrated=True) as url:
        yield from _opened(url, app)


def _opened(database: str, app: App) -> Iterator[LedgerHandle]:
    handle = open_ledger(load(database=database), create=True, app=app)
    try:
        publish_types(handle, app)
        for tenant in ("acme", "other"):
            handle.dispatcher.execute(CreateTenant(actor=ACTOR, name=tenant, reason="a customer")).unwrap()
        yield handle
    finally:
        handle.close()


def dispatched(handle: LedgerHandle, tenant: str = "acme") -> str:
    """The id of a job that was dispatched."""
    item = Dispatch("number.double", tenant=tenant)
    return str(handle.dispatcher.execute(DispatchJob(actor=ACTOR, item=item)).unwrap().job_id)


async def known() -> bool:
    """Who listens may go on."""
    return True


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test in an event loop, within a limit of time."""

    async def limited() -> None:
        async with asyncio.timeout(6 * WAIT_SECONDS):
            await test()

    asyncio.run(limited())


def told(chunks: Sequence[bytes]) -> list[str]:
    """The jobs of the events in what was sent."""
    lines = b"".join(chunks).decode().splitlines()
    return [json.loads(line.removeprefix("data: "))["job_id"] for line in lines if line.startswith("data: ")]


def last_id(chunks: Sequence[bytes]) -> int:
    """The last position that was sent."""
    ids = [line for line in b"".join(chunks).decode().splitlines() if line.startswith("id: ")]
    return int(ids[-1].rpartition(".")[2])


async def until_told(stream: AsyncIterator[bytes], number: int) -> list[bytes]:
    """What is sent until so many events were."""
    chunks: list[bytes] = []
    while len(told(chunks)) < number:
        chunks.append(await anext(stream))
    return chunks


def test_everything_once_however_often_one_comes_back(handle: LedgerHandle) -> None:
    """While several threads dispatch, listeners leave and come back at random: each is told every event of its tenant
    exactly once, in the order of positions."""
    random, number = Random(7), 240
    seeds = [random.random() for _ in range(4)]

    async def hear(feed: EventFeed, begin: int, chance: Random) -> list[bytes]:
        heard: list[bytes] = []
        after = begin
        while len(told(heard)) < number:
            async with aclosing(follow(feed, Wanted("acme"), after, known, SLOW)) as stream:
                left = min(number - len(told(heard)), chance.randint(1, 60))
                heard += await until_told(stream, left)
            after = last_id(heard)
        return heard

    async def test() -> None:
        loop = asyncio.get_running_loop()
        with feeding(handle.ports.reader) as feed, ThreadPoolExecutor(4) as threads:
            begin = handle.ports.reader.head()
            listening = [asyncio.create_task(hear(feed, begin, Random(seed))) for seed in seeds]
            tenants = ["acme", "acme", "other"] * (number // 2)
            done = [loop.run_in_executor(threads, dispatched, handle, tenant) for tenant in tenants]
            jobs = {job for job, tenant in zip(await asyncio.gather(*done), tenants, strict=True) if tenant == "acme"}
            for heard in await asyncio.gather(*listening):
                assert len(told(heard)) == len(set(told(heard))) == number
                assert set(told(heard)) == jobs

    run(test)


def test_silence_is_told_with_how_far_all_is_known(handle: LedgerHandle) -> None:
    """A heartbeat comes with an id, which moves on with what others do."""

    async def test() -> None:
        with feeding(handle.ports.reader) as feed:
            async with aclosing(follow(feed, Wanted("acme", persona="nobody"), None, known, QUICK)) as stream:
                begun = await anext(stream)
                assert begun.startswith(b"retry: ")
                dispatched(handle)
                position = handle.ports.reader.head()
                while last_id([chunk := await anext(stream)]) < position:
                    assert chunk.startswith(b": ")

    run(test)


def test_who_is_too_slow_is_cut_and_goes_on_where_he_was(handle: LedgerHandle) -> None:
    """He holds no more than the buffer does, and with his last id is told the rest."""

    async def test() -> None:
        feed = EventFeed(handle.ports.reader, buffered_max=5)
        try:
            async with aclosing(follow(feed, Wanted("acme"), None, known, SLOW)) as stream:
                chunks = [await anext(stream)]
                first = dispatched(handle)
                chunks += await until_told(stream, 1)
                missed = [dispatched(handle) for _ in range(12)]
                async with aclosing(follow(feed, Wanted("other"), None, known, SLOW)) as quick:
                    await anext(quick)
                    dispatched(handle, "other")
                    await until_told(quick, 1)  # the feed has gone on for others
                chunks += [chunk async for chunk in stream]
            assert told(chunks)[0] == first
            async with aclosing(follow(feed, Wanted("acme"), last_id(chunks), known, SLOW)) as stream:
                chunks += await until_told(stream, 1 + len(missed) - len(told(chunks)))
            assert told(chunks) == [first, *missed]
        finally:
            feed.close()

    run(test)


def test_a_job_from_its_first_event_on(handle: LedgerHandle) -> None:
    """Its past is read from its history; what comes follows without a gap."""

    async def test() -> None:
        job = dispatched(handle)
        with feeding(handle.ports.reader) as feed:
            wanted = Wanted("acme", job_id=UUID(job))
            async with aclosing(follow(feed, wanted, None, known, SLOW)) as stream:
                chunks = await until_told(stream, 1)
                dispatched(handle)
                handle.dispatcher.execute(CancelJob(actor=ACTOR, tenant="acme", job=job, reason="no")).unwrap()
                chunks += await until_told(stream, 1)
            assert told(chunks) == [job, job]

    run(test)


class Interrupted:
    """A reader whose ledger does not answer for a while."""

    def __init__(self, reader: EventReader, failures: int) -> None:
        self._reader = reader
        self.failures = failures

    def head(self) -> int:
        """As the reader says, once it answers."""
        return self._reader.head()

    def incarnation(self) -> str:
        """The reader's."""
        return self._reader.incarnation()

    def read_tenant(self, *place: Any, **wanted: Any) -> EventBatch:  # noqa: ANN401
        """As the reader does, once it answers."""
        if self.failures:
            self.failures -= 1
            raise LedgerUnavailable("it does not answer")
        return self._reader.read_tenant(*place, **wanted)


def test_a_ledger_that_does_not_answer_for_a_while_costs_nothing(handle: LedgerHandle) -> None:
    """The feed asks again, and tells everything then."""

    async def test() -> None:
        reader: Any = Interrupted(handle.ports.reader, failures=1)
        with feeding(reader) as feed:
            async with aclosing(follow(feed, Wanted("acme"), None, known, SLOW)) as stream:
                await anext(stream)
                job = dispatched(handle)
                assert told(await until_told(stream, 1)) == [job]
        assert reader.failures == 0

    run(test)


def test_who_reads_what_has_passed_from_a_ledger_that_does_not_answer_comes_back(handle: LedgerHandle) -> None:
    """The stream ends in order; the next one goes on."""

    async def test() -> None:
        reader: Any = Interrupted(handle.ports.reader, failures=1)
        begin, job = handle.ports.reader.head(), dispatched(handle)
        with feeding(reader) as feed:
            async with aclosing(follow(feed, Wanted("acme"), begin, known, SLOW)) as stream:
                assert [chunk async for chunk in stream] == []
            async with aclosing(follow(feed, Wanted("acme"), begin, known, SLOW)) as stream:
                assert told(await until_told(stream, 1)) == [job]

    run(test)


def test_who_may_not_know_any_more_is_told_nothing(handle: LedgerHandle) -> None:
    """Also where he reads what has passed: it is asked before anything is sent."""

    async def lost() -> bool:
        return False

    async def test() -> None:
        with feeding(handle.ports.reader) as feed:
            dispatched(handle)
            begin, pace = 0, Pace(check_seconds=0)
            async with aclosing(follow(feed, Wanted("acme"), begin, lost, pace)) as stream:
                assert [chunk async for chunk in stream] == []

    run(test)


def test_a_thousand_listeners_hold_one_thread(handle: LedgerHandle) -> None:
    """All of them are told, and leave nothing behind."""

    async def test() -> None:
        with feeding(handle.ports.reader) as feed:
            streams = [follow(feed, Wanted("acme"), None, known, SLOW) for _ in range(1_000)]
            await asyncio.gather(*(anext(stream) for stream in streams))
            names = [thread.name for thread in threading.enumerate()]
            assert names.count("jobledger-feed") == 1
            job = dispatched(handle)
            for chunks in await asyncio.gather(*(until_told(stream, 1) for stream in streams)):
                assert told(chunks) == [job]
            assert len([thread for thread in threading.enumerate() if "AnyIO" in thread.name]) <= 40
            for stream in streams:
                await stream.aclose()
            assert not feed.is_listened_to

    run(test)


def test_recorded_events_of_others_are_never_buffered(handle: LedgerHandle) -> None:
    """A listener keeps what it wants only."""
    seen: list[RecordedEvent] = []

    async def test() -> None:
        with feeding(handle.ports.reader) as feed:
            async with feed.listening(Wanted("acme", topics=frozenset({"job.cancelled"}))) as listener:
                job = dispatched(handle)
                handle.dispatcher.execute(CancelJob(actor=ACTOR, tenant="acme", job=job, reason="no")).unwrap()
                while not seen:
                    seen.extend(happened.event for happened in await listener.next(WAIT_SECONDS))
        assert [event.topic for event in seen] == ["job.cancelled"]

    run(test)
