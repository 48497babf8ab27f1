"""What stands for the vault and for the database's transactions while a test runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from jobledger.application.writes import ChangeJob, Outcome, WriteStatus
from jobledger.domain.errors import TransactionUnavailable, UnknownSecret

from .faults import MortalWriter


class Connection(Protocol):
    """What a test gives for `context.transaction()`: a connection to a test database, or a fake of one."""

    def commit(self) -> object:
        """Keep what was written."""
        ...

    def rollback(self) -> object:
        """Forget what was written."""
        ...


Connect = Callable[[], Connection]


class GivenSecrets:
    """The `SecretVault` of a test: a text for every tenant, or texts by tenant, as in a secrets file."""

    def __init__(self, secrets: Mapping[str, str | Mapping[str, str]]) -> None:
        self._secrets = secrets

    def get(self, name: str, tenant: str) -> str:
        """The text of a secret. Raises `UnknownSecret`."""
        secret = self._secrets.get(name)
        text = secret if secret is None or isinstance(secret, str) else secret.get(tenant)
        if text is None:
            raise UnknownSecret(f"the test gave no secret {name!r} for tenant {tenant!r}: InMemoryLedger(secrets=...)")
        return text


class GivenTransactions:
    """The `AttemptTransactions` of a test: on connections that the test makes."""

    def __init__(self, connect: Connect | None, writer: MortalWriter | None) -> None:
        """Without a `writer` nothing is kept: the job was completed before."""
        self._connect = connect
        self._writer = writer

    def begin(self, *, seconds: float) -> GivenTransaction:
        """A transaction on a new connection. Raises `TransactionUnavailable` where the test gave no way to connect."""
        del seconds  # the clock stands still
        if self._connect is None:
            raise TransactionUnavailable(
                "a ledger in memory has no database for context.transaction()", field="transaction",
                rule="is given a connection", hint="InMemoryLedger(app, connect=...), or test this on PostgreSQL",
            )  # fmt: skip
        return GivenTransaction(self._connect(), self._writer)


class GivenTransaction:
    """The `AttemptTransaction` on a connection of the test's."""

    def __init__(self, connection: Connection, writer: MortalWriter | None) -> None:
        self.connection = connection
        self._writer = writer

    def complete(self, change: ChangeJob, *, give_up: Callable[[], bool]) -> Outcome:
        """Commit and record the completion; roll back where the worker dies of it, or the commit fails."""
        del give_up  # every answer arrives
        if self._writer is None:
            self.connection.rollback()
            return Outcome(WriteStatus.WRITTEN)
        try:
            self._writer.check([change])
            self.connection.commit()
        except BaseException:
            self.connection.rollback()
            raise
        return self._writer.write([change])[0]

    def roll_back(self) -> None:
        """Undo everything."""
        self.connection.rollback()

    def abandon(self) -> None:
        """Everything is undone when the handler returns, which is in this very thread."""
