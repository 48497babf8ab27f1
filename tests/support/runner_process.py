"""A process that runs all projections, for tests that kill it: `python -m tests.support.runner_process ENGINE PLACE`.

Prints a line after its first round and after every batch that it applied.
"""

from __future__ import annotations

import sys

from jobledger.domain.errors import LedgerBusy

from ..contract.views_support import Opened, open_place


def main(engine: str, place: str) -> None:
    """Run until killed."""
    with open_place(engine, place) as opened:
        _run(opened)


def _run(opened: Opened) -> None:
    runner = opened.runner(batch_size=3)
    while not runner.failures:
        try:
            runner.run_once()
        except LedgerBusy:
            continue
        sys.stdout.write(f"{runner.position('tenant_jobs')}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
