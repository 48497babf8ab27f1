"""What `jobledger.Ledger` is: the client, opened by a URL."""

from __future__ import annotations

from jobledger.application.app import App
from jobledger.application.client import LedgerClient
from jobledger.application.message import Actor

from .bootstrap import open_ledger
from .settings import load


class Ledger(LedgerClient):
    """An open ledger; a context manager that closes it. Safe to share between threads."""

    @classmethod
    def open(cls, url: str | None = None, *, app: App | None = None, actor: Actor | None = None) -> Ledger:
        """Open the ledger of `url` (default: JOBLEDGER_DATABASE, else `sqlite:///jobledger.db`).

        With `app`, payloads of its job types are checked by its own models; other types by the installation's
        registry. `actor` defaults to `service:<app>`, else to whom the settings name. Raises `LedgerNotFound`,
        `SchemaOutdated`, `SchemaTooNew` or `LedgerUnavailable`.
        """
        settings = load(database=url)
        name, authenticated = settings.acting
        if app is not None:
            name, authenticated = f"service:{app.name}", True
        handle = open_ledger(settings, app=app)
        return cls(
            handle.dispatcher, actor or Actor(id=name, authenticated=authenticated), tenant=settings.tenant,
            close=handle.close,
        )  # fmt: skip
