"""A process that parks an event and waits to be killed: `python -m tests.support.parking_process ENGINE PLACE`.

Prints a line once all of its batch was handed to the store, whose transaction is then still open.
"""

from __future__ import annotations

import signal
import sys
from uuid import UUID

from jobledger.projections.ports import Changes, Parked
from jobledger.projections.tenant_jobs import TENANT_JOBS

from ..contract.views_support import open_place


def main(engine: str, place: str) -> None:
    """Empty the view and park an event, but never come to an end."""
    with open_place(engine, place) as opened, opened.store.begin((TENANT_JOBS,)) as transaction:
        assert transaction is not None
        before = transaction.checkpoint(TENANT_JOBS)
        keys = [event.originator_id for event in opened.events()]
        transaction.park([Parked("tenant_jobs", (UUID(int=1),), UUID(int=1), 3, "acme", 3, "job.started", "broken")])
        ended = Changes(ended=[(key,) for key in keys])
        transaction.save(TENANT_JOBS, ended, before, before._replace(position=before.position + 1))
        sys.stdout.write("parked\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
