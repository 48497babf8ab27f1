"""Rebuilds `tenant_jobs` of a SQLite ledger over and over, for tests: `python -m tests.support.rebuild_process PATH`.

A child works on the rebuild and kills itself behind the first statement that its writer runs; the next one behind the
second, and so on, until one comes to the end. Prints how many died.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from jobledger.infrastructure.sqlite.database import Database
from jobledger.infrastructure.sqlite.event_source import SqliteEventSource
from jobledger.infrastructure.sqlite.shadows import SqliteShadows
from jobledger.infrastructure.sqlite.views import SqliteViewStore
from jobledger.projections.beginning import Wanted, begin_or_join
from jobledger.projections.rebuild import Options, Outcome, Rebuilding, RebuildPorts
from jobledger.projections.shadow import Purpose, Scope
from jobledger.projections.tenant_jobs import TENANT_JOBS

from .shadows import MemoryRecords


def rebuild(
    database: Database, purpose: Purpose = Purpose.REBUILD, scope: Scope | None = None, batch_events: int = 40
) -> Outcome:
    """Begin the rebuild or go on with the one that is not over, to its end."""
    ports = RebuildPorts(
        SqliteShadows(database), SqliteViewStore(database), SqliteEventSource(database), MemoryRecords(),
        lambda: datetime.now(UTC), time.sleep,
    )  # fmt: skip
    wanted = Wanted(uuid4(), TENANT_JOBS, purpose, scope or Scope(), "ana", "a drill")
    options = Options(batch_events=batch_events, stream_events=batch_events)
    rebuilding = Rebuilding(ports, TENANT_JOBS, begin_or_join(ports, wanted).rebuild, options)
    try:
        return rebuilding.run()
    finally:
        rebuilding.close()


def dying_behind(statements: int) -> Callable[[str], None]:
    """Counts statements; the last one is the end of the process."""
    left = statements

    def count(_statement: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return count


def work_until_death(path: Path, statements: int) -> None:
    """Go on with the rebuild in a fresh process."""
    database = Database(path)
    with database.write() as writer:
        writer.set_trace_callback(dying_behind(statements))
    try:
        rebuild(database)
    finally:
        writer.set_trace_callback(None)
        database.close()


def main(path: str) -> None:
    """Kill one child after the other."""
    statements = 0
    while True:
        child = os.fork()
        if child == 0:
            work_until_death(Path(path), statements)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.stdout.write(f"{statements} {status}\n")
            return
        statements += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
