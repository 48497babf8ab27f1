"""What both engines store as JSON beside their views: the keys of parked events, and what a rebuild compared."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from jobledger.projections.ports import Key
from jobledger.projections.shadow import Comparison, Difference

_ID, _TIME = "$id", "$time"


def encode_key(key: Key) -> str:
    """A key of a view as JSON: equal keys have equal text. Ids and times say what they are."""
    return json.dumps(list(key), default=_tagged, separators=(",", ":"), ensure_ascii=False)


def decode_key(stored: str) -> Key:
    """The key that was stored."""
    return tuple(json.loads(stored, object_hook=_untagged))


def encode_comparison(comparison: Comparison) -> str:
    """A comparison as JSON; of the rows that differ only their keys."""
    keys = [list(difference.key) for difference in comparison.sample]
    return json.dumps({**comparison._asdict(), "sample": keys}, default=_tagged, ensure_ascii=False)


def decode_comparison(stored: str) -> Comparison:
    """The comparison that was stored."""
    fields = json.loads(stored, object_hook=_untagged)
    sample = tuple(Difference(tuple(key), None, None) for key in fields.pop("sample"))
    return Comparison(**fields, sample=sample)


def _tagged(value: object) -> dict[str, str]:
    if isinstance(value, UUID):
        return {_ID: str(value)}
    if isinstance(value, datetime):
        return {_TIME: value.isoformat()}
    raise TypeError(f"a key holds no {type(value).__name__}")


def _untagged(value: dict[str, Any]) -> UUID | datetime | dict[str, Any]:
    if _ID in value:
        return UUID(value[_ID])
    return datetime.fromisoformat(value[_TIME]) if _TIME in value else value
