"""What a use case answers: accepted or refused, typed (R1.4). An expected refusal is a value, not an exception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NoReturn, TypeVar

from jobledger.domain.errors import Refusal

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Accepted(Generic[T_co]):
    """The command was carried out and is durable. `position` is what a reader waits for to see it."""

    value: T_co
    position: str | None = None

    @property
    def is_accepted(self) -> bool:
        """True."""
        return True

    def unwrap(self) -> T_co:
        """The value."""
        return self.value


@dataclass(frozen=True, slots=True)
class Refused:
    """The command was refused and nothing of it was written, but the refusal itself where that is recorded."""

    error: Refusal

    @property
    def is_accepted(self) -> bool:
        """False."""
        return False

    def unwrap(self) -> NoReturn:
        """Raises the refusal."""
        raise self.error


Result = Accepted[T_co] | Refused
