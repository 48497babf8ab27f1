"""How far targets are from their limits, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from jobledger.application.flow_control import Running
from jobledger.application.ports import OpenJob, Standing
from jobledger.domain.limit import Limits, Rate, Target

from ..standing import standing
from .store import Store

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_standing(store: Store, targets: Mapping[Target, Limits], *, tenant: str, lock_key: str | None) -> Standing:
    """See `Queue.standing`. Whoever calls holds the store's lock."""
    jobs = store.running()

    def started(target: Target, rate: Rate) -> int:
        after = (store.now() - timedelta(seconds=rate.seconds) - _EPOCH) // timedelta(microseconds=1)
        return sum(tokens for ends_at, tokens in store.limit_uses[target].items() if ends_at > after)

    def holds(job: OpenJob) -> bool:
        return lock_key is not None and (job.tenant, job.state.lock_key) == (tenant, lock_key)

    running = [Running(job.state.queue, job.tenant, job.state.persona, job.state.limit_key, 1) for job in jobs]
    return standing(
        targets, running=running, started=started, lock_holder=next((job.job_id for job in jobs if holds(job)), None)
    )
