"""A ledger in memory, for tests: every port, the same promises, gone with the process.

ledger = MemoryLedger()
dispatcher = use_cases(ledger.ports, app=app)
"""

from .ledger import MemoryLedger, MemoryTransaction

__all__ = ["MemoryLedger", "MemoryTransaction"]
