"""The single composition root: settings in, a ledger with all its adapters out. Nothing else wires anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from jobledger.application.dispatcher import Dispatcher
from jobledger.application.ports import (
    Catalogue,
    Clock,
    EventReader,
    Identifiers,
    JobViews,
    LedgerWriter,
    Queue,
    TransactionWriter,
    WakeUp,
)
from jobledger.domain.errors import LedgerNotFound, LedgerUnavailable

from .database_url import DatabaseUrl
from .settings import Settings


@dataclass(frozen=True, slots=True)
class LedgerHandle:
    """An open ledger: the ports with their adapters. Close it when done; closing twice is harmless."""

    settings: Settings
    writer: LedgerWriter
    transaction_writer: TransactionWriter
    reader: EventReader
    queue: Queue
    catalogue: Catalogue
    views: JobViews
    wake_up: WakeUp
    clock: Clock
    identifiers: Identifiers
    dispatcher: Dispatcher
    _closing: list[Callable[[], None]] = field(default_factory=list)

    def close(self) -> None:
        """Let go of everything, the last opened first."""
        while self._closing:
            self._closing.pop()()


def open_ledger(settings: Settings, *, create: bool = False) -> LedgerHandle:
    """Open the ledger that the settings name; with `create`, make it or bring its schema up to date first.

    Raises LedgerNotFound, SchemaOutdated, SchemaTooNew or LedgerUnavailable.
    """
    raise LedgerUnavailable(f"{settings.database.engine} is not wired yet ({create=})")


def migrate(settings: Settings) -> tuple[str, ...]:
    """Create the ledger or bring its schema up to date; returns the names of the migrations that were applied."""
    raise LedgerUnavailable(f"{settings.database.engine} is not wired yet")


def not_found(url: DatabaseUrl, where: Path | str) -> LedgerNotFound:
    """There is no ledger: where it was looked for, and what to run."""
    return LedgerNotFound(
        f"there is no ledger at {where}", field="JOBLEDGER_DATABASE", rule="must name a ledger that exists",
        hint=f"create it with: jobledger migrate; or set JOBLEDGER_DATABASE (now {url})",
    )  # fmt: skip
