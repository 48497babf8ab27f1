"""Whether a server lives and whether it is ready: what its probes answer, with the reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from jobledger.application.worker.vitals import Check, running
from jobledger.domain.errors import LedgerError

from ..bootstrap import LedgerHandle


class Beside(Protocol):
    """What may end by itself: the server, and the threads that run beside it."""

    @property
    def has_died(self) -> bool:
        """Whether it did."""
        ...


class ServerVitals:
    """Looks when somebody probes."""

    def __init__(self, handle: LedgerHandle, server: Beside, threads: Mapping[str, Beside | None]) -> None:
        self._handle = handle
        self._threads = {"http": server, **threads}

    def liveness(self) -> list[Check]:
        """Whether only a restart helps."""
        return [
            *(running(name, thread.has_died) for name, thread in self._threads.items() if thread is not None),
            running("ledger writer", self._handle.writer_has_died()),
        ]

    def readiness(self) -> list[Check]:
        """Whether requests can be carried out: the ledger is asked."""
        try:
            self._handle.ports.reader.incarnation()
        except LedgerError as error:
            return [Check("ledger", passed=False, detail=error.message)]
        return [Check("ledger", passed=True)]
