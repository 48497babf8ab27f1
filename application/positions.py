"""Positions as the world outside sees them: strings `incarnation.position`.

The incarnation changes when the ledger is restored to an earlier moment, so that a position of the lost future is
refused instead of being mistaken for one of the new.
"""

from __future__ import annotations

from jobledger.domain.errors import InvalidInput

from .ports import EventReader

POSITION_MAX = (1 << 63) - 1
"""Every database can hold it."""


class Positions:
    """Turns positions into strings and back, for one ledger."""

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader
        self._prefix = ""

    def text(self, position: int | None) -> str | None:
        """`incarnation.position`."""
        return None if position is None else f"{self._prefix or self._read_prefix()}{position}"

    def number(self, text: str) -> int:
        """The position in a string. Raises `InvalidInput` for another form or another incarnation."""
        incarnation, dot, digits = text.rpartition(".")
        if not dot or not digits.isascii() or not digits.isdigit() or not _fits(digits):
            raise InvalidInput(f"{text[:60]!r} is not a position", field="after", rule="is <incarnation>.<position>")
        if f"{incarnation}." != self._read_prefix():
            raise InvalidInput(
                f"position {text[:60]!r} is from before the ledger was restored", field="after",
                rule="is of the ledger's present incarnation", hint="read without it",
            )  # fmt: skip
        return int(digits)

    def require_given_out(self, position: int) -> None:
        """Raise `InvalidInput` for a position that no event has, or is about to have."""
        if position > self._reader.given_out():
            raise InvalidInput(
                f"nothing was ever recorded at {self.text(position)}", field="after",
                rule="a position that an answer named",
            )  # fmt: skip

    def _read_prefix(self) -> str:
        self._prefix = f"{self._reader.incarnation()}."
        return self._prefix


def _fits(digits: str) -> bool:
    return len(digits) <= len(str(POSITION_MAX)) and int(digits) <= POSITION_MAX
