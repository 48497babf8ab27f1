"""Keys of views and results of comparisons as JSON, the same for both engines.

What JSON does not know is written with its type, so that a key is read back as the very key it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from jobledger.projections.ports import Key
from jobledger.projections.projection import Value
from jobledger.projections.shadow import Comparison, Difference

_JsonValue = str | int | float | bool | None | dict[str, str]


def key_to_json(key: Sequence[object]) -> str:
    """A key as text: the same key always gives the same text."""
    return json.dumps([_to_json(value) for value in key], ensure_ascii=False, separators=(",", ":"))


def key_from_json(text: str) -> Key:
    """The key that a text was made from."""
    return tuple(_from_json(value) for value in json.loads(text))


def comparison_to_json(comparison: Comparison) -> str:
    """A comparison as text; of the sample only the keys, because rows are a tenant's data."""
    sample = [key_to_json(difference.key) for difference in comparison.sample]
    return json.dumps({**comparison._asdict(), "sample": sample}, ensure_ascii=False)


def comparison_from_json(text: str) -> Comparison:
    """The comparison that a text was made from, without the rows of its sample."""
    fields = json.loads(text)
    sample = tuple(Difference(key_from_json(key), None, None) for key in fields.pop("sample"))
    return Comparison(**fields, sample=sample)


def _to_json(value: object) -> _JsonValue:
    if isinstance(value, UUID):
        return {"uuid": str(value)}
    if isinstance(value, datetime):
        return {"time": value.isoformat()}
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"a key cannot hold {type(value).__name__}")


def _from_json(value: _JsonValue) -> Value:
    if not isinstance(value, dict):
        return value
    ((kind, text),) = value.items()
    return UUID(text) if kind == "uuid" else datetime.fromisoformat(text)
