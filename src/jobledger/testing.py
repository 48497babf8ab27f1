"""For the tests of programs that use jobledger: a ledger in memory, a clock that stands still, and assertions.

ledger = InMemoryLedger(app)
ledger.dispatch("invoice.send", {"invoice_id": "42"}, tenant="acme")
ledger.drain()
ledger.assert_completed(type="invoice.send", tenant="acme")
"""

from .infrastructure.testing import FrozenClock, InMemoryLedger, SeededIdentifiers, SeenJob, SeenJobs, seen_job

__all__ = ["FrozenClock", "InMemoryLedger", "SeededIdentifiers", "SeenJob", "SeenJobs", "seen_job"]
