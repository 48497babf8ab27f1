"""Where a page of a list begins, as an opaque string that callers hand back."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from uuid import UUID

from jobledger.domain.errors import InvalidInput

from .ports import PageKey


def cursor_of(key: PageKey | None) -> str | None:
    """A page key as an opaque string."""
    if key is None:
        return None
    return base64.urlsafe_b64encode(f"{key.created_at.isoformat()}|{key.job_id.hex}".encode()).decode().rstrip("=")


def key_of(cursor: str | None) -> PageKey | None:
    """The page key in a cursor. Raises `InvalidInput` for what no list has given out."""
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        moment, _, job_id = text.partition("|")
        key = PageKey(datetime.fromisoformat(moment), UUID(job_id))
        if key.created_at.tzinfo is None:
            raise ValueError("naive")
    except (ValueError, binascii.Error) as error:
        raise InvalidInput("not a cursor", field="cursor", rule="is the cursor of a page before") from error
    return key
