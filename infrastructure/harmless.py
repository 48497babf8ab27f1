"""What jobs and callers say is shown to people and programs; none of it shall speak to the terminal that it comes to.

Two ways: for people what would speak is replaced, in JSON it is escaped, which a program reads back as it was. What is
hashed (exports) is neither, on its way to a file or a pipe.
"""

from __future__ import annotations

import re

_DIRECTION = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_BEYOND_C0 = f"\x7f-\x9f\u2028\u2029{_DIRECTION}\ud800-\udfff"
"""DEL and the C1 controls, ends of lines that only some know, controls of the direction of text, and halves of
surrogate pairs, which no encoding has."""
_TEXT = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f{_BEYOND_C0}]")
_JSON = re.compile(f"[{_BEYOND_C0}]")


def harmless(text: str) -> str:
    """Text without what moves the cursor, sets colours or titles, or turns the order of words; as long as it was."""
    return text if text.isascii() and text.isprintable() else _TEXT.sub("\ufffd", text)


def escaped_json(text: str) -> str:
    """The same JSON without what speaks to a terminal. (Of C0, JSON has none but the ends of its lines; all else that
    may do stands inside of strings.)"""
    return text if text.isascii() and "\x7f" not in text else _JSON.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
