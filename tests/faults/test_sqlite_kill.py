"""A process that dies in the middle of writing to a SQLite ledger loses nothing that was acknowledged."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from uuid import UUID

from jobledger.infrastructure.sqlite.connect import open_ledger
from jobledger.infrastructure.sqlite.migrations import migrate

from ..contract.support import new_job

ROOT = Path(__file__).parents[2]
ACKNOWLEDGED_BEFORE_THE_KILL = 60


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """After SIGKILL every job whose dispatch was acknowledged is there, queue and ledger agree, and work goes on."""
    path = tmp_path / "ledger.db"
    migrate(path)
    command = [sys.executable, "-m", "tests.support.sqlite_process", "dispatch_and_tell", str(path), "1000000"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = [UUID(process.stdout.readline().strip()) for _ in range(ACKNOWLEDGED_BEFORE_THE_KILL)]
    process.kill()
    acknowledged += [UUID(line.strip()) for line in process.stdout if line.endswith("\n")]
    process.wait()

    with closing(open_ledger(path)) as ledger:
        with ledger.database.read() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            stored = {UUID(bytes=row[0]) for row in connection.execute("SELECT originator_id FROM ledger")}
            queued = {UUID(bytes=row[0]) for row in connection.execute("SELECT job_id FROM open_jobs")}
        assert set(acknowledged) <= stored
        assert stored == queued
        assert ledger.writer.write([new_job()])[0].position is not None
