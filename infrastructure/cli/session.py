"""What a command works with: the settings, the open ledger, who acts, and which tenant it is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from jobledger.application.message import Actor, Message
from jobledger.application.result import Result
from jobledger.domain.errors import InvalidInput
from jobledger.domain.identifiers import SHORT_ID_LENGTH

from .. import settings as settings_module
from ..bootstrap import LedgerHandle, open_ledger
from ..settings import Settings
from ..telemetry import configure_logging

R = TypeVar("R")

_ID_LENGTH = 32


class Session(NamedTuple):
    """An open ledger, and on whose behalf."""

    settings: Settings
    handle: LedgerHandle
    actor: Actor

    def send(self, message_type: type[Message[R]], /, **fields: object) -> Result[R]:
        """Carry out a command or answer a query, made of these fields."""
        return self.handle.dispatcher.send(message_type, actor=self.actor, **fields)

    def ask(self, message_type: type[Message[R]], /, **fields: object) -> R:
        """The same, but a refusal is raised."""
        return self.send(message_type, **fields).unwrap()

    def tenant(self, chosen: str | None) -> str:
        """The tenant that a command is about: its option, else JOBLEDGER_TENANT."""
        return require_tenant(chosen, self.settings)


def load_settings(**overrides: object) -> Settings:
    """The settings of this process; what the command line says (None: nothing) comes first."""
    return settings_module.load(**overrides)


@contextmanager
def opened(settings: Settings | None = None, *, create: bool = False) -> Iterator[Session]:
    """The ledger of the settings, closed afterwards."""
    chosen = settings or load_settings()
    configure_quiet_logging(chosen)
    handle = open_ledger(chosen, create=create)
    try:
        yield Session(chosen, handle, acting(chosen))
    finally:
        handle.close()


def acting(settings: Settings) -> Actor:
    """Who acts, for the ledger."""
    name, authenticated = settings.acting
    return Actor(id=name, authenticated=authenticated)


def configure_quiet_logging(settings: Settings) -> None:
    """Logs of a command that answers at once: what it says, it says itself, so logs only where somebody asked."""
    asked = "log_level" in settings.model_fields_set
    configure_logging(level=settings.log_level if asked else "error", form=settings.log_format)


def require_tenant(tenant: str | None, settings: Settings) -> str:
    """The tenant that a command is about: its option, else JOBLEDGER_TENANT."""
    chosen = tenant or settings.tenant
    if chosen is None:
        raise InvalidInput(
            "which tenant?", field="--tenant", rule="every job belongs to one",
            hint="add --tenant NAME or set JOBLEDGER_TENANT; jobledger tenants list shows them",
        )  # fmt: skip
    return chosen


def job_reference(text: str) -> str:
    """A job's id, or at least its last eight characters; InvalidInput for anything else."""
    digits = text.strip().lower().replace("-", "")
    if not SHORT_ID_LENGTH <= len(digits) <= _ID_LENGTH or any(digit not in "0123456789abcdef" for digit in digits):
        raise InvalidInput(
            f"{text[:60]!r} is not a job's id", field="ID",
            rule=f"32 hexadecimal digits, or at least the last {SHORT_ID_LENGTH}",
            hint="jobledger jobs list shows ids",
        )  # fmt: skip
    return digits
