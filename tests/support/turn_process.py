"""A process that takes a turn and keeps it, for tests that kill it.

`python -m tests.support.turn_process ENGINE PLACE` prints whether it has the turn, then waits to be killed.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from jobledger.infrastructure.postgres.connect import open_ledger as open_postgres
from jobledger.infrastructure.sqlite.connect import open_ledger as open_sqlite

CHORE = "chore"


def main(engine: str, place: str) -> None:
    """Take the turn and wait."""
    opened = open_postgres(place) if engine == "postgres" else open_sqlite(Path(place))
    with opened.queue.turn(CHORE) as is_ours:
        sys.stdout.write(f"{is_ours}\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
