"""NUL in texts of JSON: legal there, but no text that databases and other programs hold."""

from __future__ import annotations

from collections.abc import Iterator

from jobledger.domain.errors import InvalidInput

ESCAPED_NUL = b"\\u0000"
"""How JSON writes it, always; an escaped backslash before `u0000` looks alike, and is not looked for here."""


def refuse_nul(written: bytes, value: object, field: str) -> None:
    """Raise `InvalidInput` where a text in `value` (a name in an object, too) holds NUL. `written` is JSON that holds
    it: nothing is looked into where its bytes say that there is none."""
    if ESCAPED_NUL in written:
        for place in _places(value, field):
            raise InvalidInput("a text holds NUL", field=place, rule="no text holds NUL (\\u0000)")


def _places(value: object, field: str) -> Iterator[str]:
    if isinstance(value, str):
        if "\x00" in value:
            yield field
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _places(name, field)
            yield from _places(item, f"{field}.{name}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _places(item, f"{field}.{number}")
