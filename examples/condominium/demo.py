"""Tells the story: events arrive, jobs are dispatched, a worker does them, and the ledger remembers."""

import json
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from rich.console import Console

from jobledger import Actor
from jobledger.application.client import LedgerClient
from jobledger.application.queries import JobDetails
from jobledger.infrastructure.bootstrap import LedgerHandle

from . import stage
from .board import Board, Place, Watched
from .chapters import Chapter
from .domain_event import DomainEvent
from .intake import Outcome, take_in
from .jobs import app
from .results import Answer
from .screens import Now, Progress

_LOOK_SECONDS = 0.1
_CHAPTER_SECONDS = 120.0
_READ_EVENTS = 2_000
_FREE_DAY = "2026-04-30"


class Demo:
    """One telling of the story, on an open ledger, with a worker in another process."""

    def __init__(self, handle: LedgerHandle, worker: stage.WorkerProcess, console: Console) -> None:
        self.board = Board()
        self.outcome = Outcome()
        self.progress = Progress(console, self.board)
        self._ledger = LedgerClient(handle.dispatcher, Actor(id=f"service:{app.name}"))
        self._reader = handle.ports.reader
        self._worker = worker
        self._position = 0
        self._events: list[DomainEvent] = []

    def tell(self, story: Sequence[Chapter]) -> None:
        """All chapters, each when the work of the one before is done."""
        self._events = [delivery.event for chapter in story for delivery in chapter.deliveries if delivery.event]
        with self.progress.shown():
            for number, chapter in enumerate(story, start=1):
                outcome = take_in(self._ledger, chapter.deliveries)
                self.outcome.add(outcome)
                self.progress.begin(Now(number, len(story), chapter.title), outcome)
                self._wait_until_done()
                self.progress.end()

    def answer_to(self, question: str) -> Answer | None:
        """The answer to one of the story's questions, as it stands in the ledger; None where there is none."""
        asked = [event.line for event in self._events if event.data.get("question") == question]
        jobs = [self.outcome.jobs[line] for line in asked if line in self.outcome.jobs]
        results = [self._details(job_id).result for job_id in jobs]
        return next((Answer.model_validate_json(result) for result in results if result is not None), None)

    def repaired_booking(self) -> tuple[Watched, dict[str, Any]] | None:
        """A dead booking of a room that was taken, and its payload with a day on which the room is free."""
        for job in self.board.jobs.values():
            if job.place is Place.DEAD and job.job_type == "assistant.apply_action":
                payload = json.loads(self._details(job.job_id).payload or b"{}")
                payload["action"]["day"] = _FREE_DAY
                return job, payload
        return None

    def _details(self, job_id: UUID) -> JobDetails:
        return self._ledger.jobs.get(job_id, tenant=self.board.jobs[job_id].tenant, bodies=True)

    def _wait_until_done(self) -> None:
        deadline = time.monotonic() + _CHAPTER_SECONDS
        while not self._look():
            self._worker.check()
            if time.monotonic() > deadline:
                raise stage.DemoError(f"jobs still run after {_CHAPTER_SECONDS:g} s; see {stage.WORKER_LOG}")
            self.progress.update()
            time.sleep(_LOOK_SECONDS)

    def _look(self) -> bool:
        """Read what is new in the ledger; True once everything that was dispatched has ended."""
        while True:
            batch = self._reader.read_after(self._position, limit=_READ_EVENTS)
            self._position = batch.position
            for event in batch.events:
                self.board.take(event)
            if len(batch.events) < _READ_EVENTS:
                return self.board.is_drained(len(self.outcome.jobs))
