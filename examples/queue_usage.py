"""The queue from a program's point of view: plain, delayed and retried jobs, listeners, graceful close.

    python -m examples.queue_usage [URL]

Without a URL the ledger is a SQLite file in a temporary directory. `worker` lines are told by the worker as it works,
`queue` lines are read from the ledger a moment later, `ledger` lines are asked for at the end.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path

from pydantic import BaseModel

from jobledger import App, JobContext, Ledger, NeverRetry, Retry
from jobledger.application.worker import WorkerEvent
from jobledger.domain.event import RecordedEvent

app = App("queue-usage")


class Letter(BaseModel):
    """Who is written to."""

    to: str


@app.job("letter.send", queue="post", effects="none")
def send(context: JobContext, letter: Letter) -> str:
    """A plain job: what it returns is its result."""
    context.progress(0.5, "stamped")
    return f"sent to {letter.to}"


@app.job("letter.carry", queue="post", effects="steps", retry=Retry.delays(0.1, 0.2))
def carry(context: JobContext, letter: Letter) -> str:
    """A job that fails twice. Its first step is recorded, so it runs once, whatever is retried."""
    parcel = context.step("pack", lambda: f"parcel for {letter.to}")
    if context.attempt < 3:
        raise ConnectionError(f"nobody at home (attempt {context.attempt})")
    return f"delivered the {parcel}"


@app.job("letter.burn", queue="post", effects="none")
def burn(_context: JobContext, letter: Letter) -> None:
    """A job that can never succeed: it goes to the dead-letter queue at once."""
    raise NeverRetry(f"{letter.to} has moved to the moon")


class Story:
    """Prints one line at a time, from whatever thread, and lets the program wait for a line."""

    def __init__(self) -> None:
        self._told = threading.Condition()
        self._endings = 0

    def tell(self, who: str, what: str) -> None:
        """One line."""
        with self._told:
            print(f"{who:>7}  {what}", flush=True)

    def worker_event(self, event: WorkerEvent) -> None:
        """What this worker does, at once."""
        about = f"{event.job_type} (attempt {event.attempt})" if event.job_id else ""
        self.tell("worker", " ".join(part for part in (event.name.value, about, event.detail) if part))

    def queue_event(self, event: RecordedEvent) -> None:
        """What was recorded, by any process, in the order of the ledger."""
        self.tell("queue", event.topic)
        if event.topic in ("job.completed", "job.sent_to_dlq"):
            with self._told:
                self._endings += 1
                self._told.notify_all()

    def wait_for_endings(self, count: int) -> None:
        """Until so many jobs have ended."""
        with self._told:
            if not self._told.wait_for(lambda: self._endings >= count, timeout=60):
                raise TimeoutError("the jobs did not end")


def run(url: str) -> None:
    """The whole story on one ledger."""
    story = Story()
    with Ledger.open(url, app=app, create=True) as ledger:
        ledger.tenants.create("acme", reason="an example")

        queue = ledger.queue_events("post")
        for name in ("dispatched", "completed", "retried", "sent_to_dlq"):
            queue.on(name, story.queue_event)
        queue.start()

        worker = ledger.worker(app, concurrency=1)
        for name in ("started", "active", "progress", "processed", "errored", "error", "stopping", "closed"):
            worker.events.on(name, story.worker_event)
        worker.start()

        jobs = [
            ledger.dispatch("letter.send", Letter(to="Ada"), tenant="acme", persona="scribe"),
            ledger.dispatch("letter.send", Letter(to="Grace"), tenant="acme", delay_seconds=0.5),
            ledger.dispatch("letter.carry", Letter(to="Edsger"), tenant="acme", priority=10),
            ledger.dispatch("letter.burn", Letter(to="Kurt"), tenant="acme"),
        ]
        story.wait_for_endings(len(jobs))
        worker.close(timeout_seconds=10)  # finishes what runs, takes nothing new
        queue.close()

        for receipt in jobs:
            job = ledger.jobs.get(receipt.job_id, tenant="acme", bodies=True)
            result = job.result.decode() if job.result else job.state.last_error_message
            story.tell("ledger", f"{job.state.job_type} is {job.status} after {job.state.attempt} attempts: {result}")


def main() -> None:
    """Run on the URL that was given, or on a ledger of its own."""
    if len(sys.argv) > 1:
        run(sys.argv[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        run(f"sqlite:///{Path(folder)}/queue_usage.db")


if __name__ == "__main__":
    main()
