"""A process that reads one list again and again: `python -m tests.support.list_reader PATH`.

Prints a line once it began, and at the end of its input what it saw: how many jobs each reading of the list had, how
often it was read, and the longest time that one took in milliseconds.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

from jobledger.application.ports import JobFilter
from jobledger.infrastructure.sqlite.database import Database
from jobledger.infrastructure.sqlite.job_views import SqliteJobViews

MANY = 10_000


def main(path: str) -> None:
    """Read until the input ends."""
    done = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(done,), daemon=True).start()
    database = Database(Path(path))
    views = SqliteJobViews(database)
    counts, readings, longest = set[int](), 0, 0.0
    while not done.is_set():
        begun = time.perf_counter()
        counts.add(len(views.tenant_jobs("acme", JobFilter(), after=None, limit=MANY).rows))
        longest = max(longest, time.perf_counter() - begun)
        readings += 1
        if readings == 1:
            sys.stdout.write("reading\n")
            sys.stdout.flush()
    database.close()
    sys.stdout.write(json.dumps({"counts": sorted(counts), "readings": readings, "longest": round(longest * 1_000)}))


def _wait_for_the_end(done: threading.Event) -> None:
    sys.stdin.read()
    done.set()


if __name__ == "__main__":
    main(*sys.argv[1:])
