"""Page cursors as callers see them: opaque, and signed, so that nobody can make one.

A cursor holds only what the page it came from showed; the signature binds it to the list and its filters.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from jobledger.domain.errors import InvalidInput

_SIGNATURE_BYTES = 16


class Cursors:
    """Signs cursors with a key that all servers of an installation share."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, cursor: str | None, scope: str) -> str | None:
        """What stands in an answer. `scope` names the list and its filters."""
        if cursor is None:
            return None
        signed = self._signature(cursor, scope) + cursor.encode()
        return base64.urlsafe_b64encode(signed).decode().rstrip("=")

    def read(self, text: str | None, scope: str) -> str | None:
        """The cursor that was signed for this list. Raises `InvalidInput` for any other."""
        if text is None:
            return None
        try:
            signed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            signature, cursor = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:].decode()
        except (binascii.Error, ValueError) as error:
            raise _foreign() from error
        if not hmac.compare_digest(signature, self._signature(cursor, scope)):
            raise _foreign()
        return cursor

    def _signature(self, cursor: str, scope: str) -> bytes:
        return hmac.digest(self._key, f"{scope}\x00{cursor}".encode(), hashlib.sha256)[:_SIGNATURE_BYTES]


def _foreign() -> InvalidInput:
    return InvalidInput(
        "that is no cursor of this list", field="query.cursor", rule="next_cursor of an answer with the same filters",
        hint="begin without a cursor",
    )  # fmt: skip
