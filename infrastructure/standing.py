"""How far targets are from their limits, from rows that every engine has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

from jobledger.application.flow_control import Running, targets_of
from jobledger.application.ports import Standing
from jobledger.domain.limit import Limits, Rate, Target


def standing(
    targets: Mapping[Target, Limits],
    *,
    running: Iterable[Running],
    started: Callable[[Target, Rate], int],
    lock_holder: UUID | None,
) -> Standing:
    """See `Queue.standing`. `running` are all jobs in progress; `started` is asked for each target with a rate."""
    counted: Counter[Target] = Counter()
    for row in running:
        for target in targets_of(row.queue, row.tenant, row.persona, row.limit_key):
            counted[target] += row.jobs
    return Standing(
        {target: counted[target] for target, limits in targets.items() if limits.concurrency is not None},
        {target: started(target, limits.rate) for target, limits in targets.items() if limits.rate is not None},
        lock_holder,
    )
