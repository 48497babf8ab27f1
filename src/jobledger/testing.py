"""For the tests of programs that use jobledger: a ledger in memory, a clock that stands still, and assertions.

ledger = InMemoryLedger(app)
ledger.dispatch("invoice.send", {"invoice_id": "42"}, tenant="acme")
ledger.drain()
ledger.assert_completed(type="invoice.send", tenant="acme")

For programs that use `jobledger.client`, `FakeClient(app)` and `AsyncFakeClient(app)` are clients of such a ledger.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .infrastructure.testing import FrozenClock, InMemoryLedger, SeededIdentifiers, SeenJob, SeenJobs, seen_job

if TYPE_CHECKING:
    from .infrastructure.testing.fake_client import AsyncFakeClient, FakeClient

_CLIENTS = ("AsyncFakeClient", "FakeClient")

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """The fakes of the clients need httpx, which not everybody has: they are loaded when they are asked for."""
        if name not in _CLIENTS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import_module(".infrastructure.client", "jobledger")  # which says what has to be installed
        from .infrastructure.testing import fake_client  # noqa: PLC0415

        return getattr(fake_client, name)


__all__ = [
    "AsyncFakeClient", "FakeClient", "FrozenClock", "InMemoryLedger", "SeededIdentifiers", "SeenJob", "SeenJobs",
    "seen_job",
]  # fmt: skip
