"""Nobody starves in a claim: what one worker cannot take never hides what it can."""

from __future__ import annotations

from .support import LedgerUnderTest, new_job


def test_a_tenant_with_nothing_for_this_worker_keeps_no_other_waiting(ledger: LedgerUnderTest) -> None:
    """A worker with room for one job gets past a tenant whose ready jobs are all of types it does not know."""
    ledger.dispatch(tenant="a", job_type="unknown.here")
    wanted = ledger.dispatch(tenant="b")
    assert wanted in [job_id for _ in range(3) for job_id in ledger.claimed_ids(1)]


def test_a_tenant_behind_its_lock_key_keeps_no_other_waiting(ledger: LedgerUnderTest) -> None:
    """A worker with room for one job gets past a tenant whose ready jobs wait for a key that is held."""
    held = [ledger.dispatch(tenant="a", lock_key="k") for _ in range(3)]
    assert ledger.claimed_ids(1) == held[:1]
    wanted = {ledger.dispatch(tenant="b") for _ in range(3)}
    assert wanted == {job_id for _ in range(6) for job_id in ledger.claimed_ids(1)}


def test_tenants_of_a_dedicated_worker_take_turns(ledger: LedgerUnderTest) -> None:
    """A worker for some tenants, with room for one job, serves each of them."""
    for tenant in ("a", "b"):
        for _ in range(4):
            ledger.dispatch(tenant=tenant)
    served = [ledger.claim_one(tenants=("a", "b")).tenant for _ in range(4)]
    assert sorted(served) == ["a", "a", "b", "b"]


def test_priority_counts_across_lock_keys(ledger: LedgerUnderTest) -> None:
    """Within a tenant the most urgent job comes first, whatever its lock key is called."""
    ledger.dispatch(lock_key="a")
    urgent = ledger.dispatch(lock_key="b", priority=100)
    assert ledger.claimed_ids(1) == [urgent]


def test_many_tenants_with_nothing_for_this_worker_keep_no_other_waiting(stored_ledger: LedgerUnderTest) -> None:
    """More tenants than a claim visits, all with jobs of unknown types: the one behind them has its turn."""
    for number in range(130):
        stored_ledger.dispatch(tenant=f"a-{number:03}", job_type="unknown.here")
    wanted = stored_ledger.dispatch(tenant="b")
    assert wanted in [job_id for _ in range(4) for job_id in stored_ledger.claimed_ids(4)]


def test_every_tenant_has_its_turn_beside_lock_keys(ledger: LedgerUnderTest) -> None:
    """A batch that does not hold all tenants' shares is cut where the next one begins, with lock keys or without."""
    for tenant in ("a", "b", "c", "d"):
        ledger.create_tenant(tenant)
        ledger.writer.write([new_job(tenant=tenant) for _ in range(12)])
        ledger.dispatch(tenant=tenant, lock_key="k")
    served = [{job.tenant for job in ledger.claim(6).jobs} for _ in range(3)]
    assert set.union(*served) == {"a", "b", "c", "d"}


def test_lock_keys_of_jobs_for_others_hide_nothing(stored_ledger: LedgerUnderTest) -> None:
    """A job with a lock key is found behind any number of keys whose jobs this worker does not know."""
    stored_ledger.create_tenant("acme")
    stored_ledger.writer.write([new_job(job_type="unknown.here", lock_key=f"a-{number:03}") for number in range(130)])
    wanted = stored_ledger.dispatch(lock_key="b")
    assert wanted in [job_id for _ in range(4) for job_id in stored_ledger.claimed_ids(4)]
