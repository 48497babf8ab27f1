"""What `jobledger.Ledger` is: the client, opened by a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobledger.application.app import App
from jobledger.application.client import LedgerClient
from jobledger.application.message import Actor
from jobledger.application.queue_events import QueueEvents
from jobledger.domain.limit import Rate

from .bootstrap import LedgerHandle, open_ledger
from .settings import load

if TYPE_CHECKING:
    from .service import Service


class Ledger(LedgerClient):
    """An open ledger; a context manager that closes it. Safe to share between threads."""

    _handle: LedgerHandle

    @classmethod
    def open(
        cls, url: str | None = None, *, app: App | None = None, actor: Actor | None = None, create: bool = False
    ) -> Ledger:  # fmt: skip
        """Open the ledger of `url` (default: JOBLEDGER_DATABASE, else `sqlite:///jobledger.db`).

        With `create`, make it or bring its schema up to date first.
        With `app`, payloads of its job types are checked by its own models; other types by the installation's
        registry. `actor` defaults to `service:<app>`, else to whom the settings name. Raises `LedgerNotFound`,
        `SchemaOutdated`, `SchemaTooNew` or `LedgerUnavailable`.
        """
        settings = load(database=url)
        name, authenticated = settings.acting
        if app is not None:
            name, authenticated = f"service:{app.name}", True
        handle = open_ledger(settings, app=app, create=create)
        ledger = cls(
            handle.dispatcher, actor or Actor(id=name, authenticated=authenticated), tenant=settings.tenant,
            close=handle.close,
        )  # fmt: skip
        ledger._handle = handle
        return ledger

    def worker(
        self,
        app: App,
        *,
        queues: tuple[str, ...] = (),
        concurrency: int | None = None,
        tenants: tuple[str, ...] = (),
        personas: tuple[str, ...] = (),
        rate: Rate | str | None = None,
        drain: bool = False,
        drain_wait_seconds: float = 0.0,
    ) -> Service:
        """A worker for the app's job types, with read models and maintenance, inside this program.

        Listen to its `events`, then `run` it, or `start` it and later `close` it. `queues` default to those of the
        app's types. Where `tenants` are named it takes jobs of theirs only, with `personas` for these only; it begins
        no more jobs than `rate` says (`50/1s`). With `drain` it ends when nothing is left to do (waiting for jobs due
        within `drain_wait_seconds`). Raises `InvalidInput` for a job type that it cannot run.
        """
        # a program that only dispatches never loads the worker and the read models
        from .service import Service, worker_options  # noqa: PLC0415

        options = worker_options(
            self._handle.settings, app, queues=queues, concurrency=concurrency, tenants=tenants, personas=personas,
            rate=Rate.parse(rate) if isinstance(rate, str) else rate, drain=drain,
            drain_wait_seconds=drain_wait_seconds,
        )  # fmt: skip
        return Service(self._handle, app, options)

    def queue_events(self, *queues: str) -> QueueEvents:
        """What happens to jobs of these queues (default: all), from whatever process; see `QueueEvents`."""
        return QueueEvents(self._handle.ports.reader, queues=queues)
