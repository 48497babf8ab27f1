"""The command `jobledger` of a later release, in which the fold of `tenant_jobs` is of another version and writes its
queues in capitals. `python -m tests.support.newer_program WORDS...`"""

from __future__ import annotations

from jobledger.projections import tenant_jobs
from jobledger.projections.projection import Row, SeenEvent

_FOLD = tenant_jobs.TENANT_JOBS.fold


def fold(row: Row | None, event: SeenEvent) -> Row | None:
    """What this release writes."""
    folded = _FOLD(row, event)
    if folded is not None:
        folded["queue"] = str(folded["queue"]).upper()
    return folded


tenant_jobs.TENANT_JOBS = tenant_jobs.TENANT_JOBS._replace(version=2, fold=fold)

if __name__ == "__main__":
    from jobledger.infrastructure.cli.main import main  # it reads the catalogue

    main()
