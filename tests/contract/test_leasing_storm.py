"""Remote workers that do everything at once, right and wrong, at several servers: each attempt has one ending."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from random import Random
from typing import Any

import pytest

from jobledger.application.lease_messages import (
    CompleteAttempt,
    FailAttempt,
    GiveBackAttempt,
    LeasedJob,
    ReportLog,
    ReportProgress,
    SnoozeAttempt,
)
from jobledger.application.result import Refused
from jobledger.domain.errors import LeaseLost
from jobledger.domain.retry import Retry

from .leasing_support import RemoteWorker, Server, history, register_type
from .support import LedgerUnderTest

JOBS, SERVERS, WORKERS, ROUNDS = 24, 3, 4, 12
ENDINGS: tuple[tuple[type[Any], dict[str, Any]], ...] = (
    (CompleteAttempt, {"result": {"sent": 1}}), (FailAttempt, {"error_type": "Broken", "retry_after_seconds": 0}),
    (SnoozeAttempt, {"delay_seconds": 0}), (GiveBackAttempt, {}),
)  # fmt: skip
_ENDS = {"completed", "failed", "stalled", "interrupted", "snoozed"}


class Reckless:
    """A worker that ends attempts in any way, twice, elsewhere, or not at all; that dies and comes back."""

    def __init__(self, servers: list[Server], seed: int) -> None:
        self._servers = servers
        self._random = Random(seed)
        self._name = f"w{seed}"
        self._lives = count()
        self._life = f"{self._name}-{next(self._lives)}"

    def work(self) -> None:
        """A few rounds."""
        for _ in range(ROUNDS):
            for job in self._at().claim(3):
                self._end(job)
            if self._random.random() < 0.3:  # whatever it left lying is nobody's any more
                self._at().renew()
            if self._random.random() < 0.2:
                self._die()

    def _at(self) -> RemoteWorker:
        return self._random.choice(self._servers).worker(self._life)

    def _end(self, job: LeasedJob) -> None:
        self._tell(job, ReportProgress, {"fraction": self._random.random()})
        self._tell(job, ReportLog, {"lines": ["working"]})
        for _ in range(self._random.choice((0, 1, 1, 2, 3))):
            self._tell(job, *self._random.choice(ENDINGS))

    def _tell(self, job: LeasedJob, message: type[Any], fields: dict[str, Any]) -> None:
        result = self._at().about(message, job, **fields)
        assert not isinstance(result, Refused) or isinstance(result.error, LeaseLost), result

    def _die(self) -> None:
        server = self._random.choice(self._servers)
        server.ledger.queue.goodbye(server.worker(self._life).full_name)
        self._life = f"{self._name}-{next(self._lives)}"
        server.maintenance.run_once()


@pytest.mark.parametrize("seed", [1, 2])
def test_each_attempt_has_one_ending(stored_ledger: LedgerUnderTest, seed: int) -> None:
    """Whatever workers do at whichever server: attempts follow each other, each ends once, and no job completes twice;
    in the end all of them are done."""
    register_type(stored_ledger)
    jobs = [stored_ledger.dispatch(retry=Retry.fixed(1_000, 1.0), max_stalled=1_000) for _ in range(JOBS)]
    servers = [Server(stored_ledger, unknown_seconds=0.0) for _ in range(SERVERS)]
    workers = [Reckless(servers, seed * 100 + number) for number in range(WORKERS)]
    with ThreadPoolExecutor(WORKERS) as threads:
        for done in [threads.submit(worker.work) for worker in workers]:
            done.result()
    _finish(stored_ledger, servers[0])
    for job_id in jobs:
        _check([event.topic.removeprefix("job.") for event in history(stored_ledger, job_id)])


def _finish(ledger: LedgerUnderTest, server: Server) -> None:
    """All workers are gone: what they held is rescued, and done."""
    for row in ledger.queue.workers():
        ledger.queue.goodbye(row.heartbeat.worker)
    last = server.worker("last")
    server.maintenance.run_once()
    while ledger.queue.counts():
        for job in last.claim():
            last.tell(CompleteAttempt, job, result={"sent": 2})


def _check(topics: list[str]) -> None:
    running, completed = False, 0
    for topic in topics:
        assert completed == 0, f"{topic} after the job was completed"
        if topic == "started":
            assert not running, "two attempts at a time"
            running = True
        elif topic in _ENDS:
            assert running, f"{topic} without an attempt"
            running, completed = False, completed + (topic == "completed")
        elif topic in ("progressed", "logged"):
            assert running, f"{topic} without an attempt"
    assert completed == 1
