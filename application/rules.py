"""Rules in plain words, in place of the names that pydantic and JSON Schema have for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

_NUMBER, _WHOLE, _TIME, _LIST, _OBJECT = (
    "is a number",
    "is a whole number",
    "is a time with a zone",
    "is a list",
    "is an object",
)
_PLAIN: Final[Mapping[str, str]] = {
    "missing": "is given", "missing_argument": "is given", "extra_forbidden": "is a field that is known",
    "none_required": "is null", "invalid_key": "has texts as keys", "recursion_loop": "does not hold itself",
    "string_type": "is text", "string_unicode": "is text in UTF-8", "string_sub_type": "is text",
    "bytes_type": "is bytes", "bool_type": "is true or false", "bool_parsing": "is true or false",
    "int_type": _WHOLE, "int_parsing": _WHOLE, "int_from_float": _WHOLE, "int_parsing_size": "is a smaller number",
    "float_type": _NUMBER, "float_parsing": _NUMBER, "finite_number": "is a number, and finite",
    "decimal_type": _NUMBER, "decimal_parsing": _NUMBER,
    "list_type": _LIST, "tuple_type": _LIST, "set_type": _LIST, "frozen_set_type": _LIST, "iterable_type": _LIST,
    "dict_type": _OBJECT, "mapping_type": _OBJECT, "model_type": _OBJECT, "model_attributes_type": _OBJECT,
    "dataclass_type": _OBJECT, "uuid_type": "is a UUID", "uuid_parsing": "is a UUID",
    "timezone_aware": "has a time zone", "timezone_naive": "has no time zone",
    "datetime_type": _TIME, "datetime_parsing": _TIME, "datetime_from_date_parsing": _TIME,
    "datetime_object_invalid": _TIME, "date_type": "is a date", "date_parsing": "is a date",
    "date_from_datetime_parsing": "is a date", "time_delta_type": "is a duration",
    "time_delta_parsing": "is a duration", "json_type": "is JSON", "json_invalid": "is JSON in UTF-8",
    "url_type": "is a URL", "url_parsing": "is a URL", "url_scheme": "is a URL of a known kind",
}  # fmt: skip
_BOUNDED: Final[Mapping[str, tuple[str, str]]] = {
    "greater_than_equal": ("at least {}", "ge"), "greater_than": ("more than {}", "gt"),
    "less_than_equal": ("at most {}", "le"), "less_than": ("less than {}", "lt"),
    "multiple_of": ("a multiple of {}", "multiple_of"), "string_pattern_mismatch": ("matches {}", "pattern"),
    "literal_error": ("is {}", "expected"), "enum": ("is {}", "expected"),
    "union_tag_invalid": ("is one of {}", "expected_tags"),
}  # fmt: skip
"""The bound stands in the error's context."""
_COUNTED: Final[Mapping[str, tuple[str, str, str]]] = {
    "string_too_short": ("at least", "min_length", "character"),
    "string_too_long": ("at most", "max_length", "character"),
    "bytes_too_short": ("at least", "min_length", "byte"), "bytes_too_long": ("at most", "max_length", "byte"),
    "too_short": ("at least", "min_length", "item"), "too_long": ("at most", "max_length", "item"),
}  # fmt: skip


def plain_rule(error: Mapping[str, Any]) -> str:
    """The rule that one of pydantic's errors (with its context) is about. It never holds a value."""
    kind, context = str(error["type"]), error.get("ctx") or {}
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind in _BOUNDED and (bound := context.get(_BOUNDED[kind][1])) is not None:
        return _BOUNDED[kind][0].format(_number(bound))
    if kind in _COUNTED and (count := context.get(_COUNTED[kind][1])) is not None:
        bound, _, what = _COUNTED[kind]
        return f"{bound} {_number(count)} {what}{'' if count == 1 else 's'}"
    if kind in ("value_error", "assertion_error"):
        return str(error.get("msg", "")).partition(", ")[2] or "is right"
    return kind.replace("_", " ")


def _number(bound: object) -> str:
    """4096 is 4,096, and 100.0 is 100."""
    if isinstance(bound, bool) or not isinstance(bound, int | float):
        return str(bound)
    return f"{int(bound):,}" if float(bound).is_integer() else str(bound)


_TYPES: Final[Mapping[str, str]] = {
    "string": "is text", "integer": _WHOLE, "number": _NUMBER, "boolean": "is true or false", "array": _LIST,
    "object": _OBJECT, "null": "is null",
}  # fmt: skip
_KEYWORDS: Final[Mapping[str, str]] = {
    "minimum": "at least {}", "maximum": "at most {}", "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}", "multipleOf": "a multiple of {}", "minLength": "at least {} characters",
    "maxLength": "at most {} characters", "minItems": "at least {} items", "maxItems": "at most {} items",
    "minProperties": "at least {} fields", "maxProperties": "at most {} fields", "pattern": "matches {}",
    "format": "is a {}", "enum": "is one of {}", "const": "is {}", "required": "is given",
    "additionalProperties": "is a field that is known", "uniqueItems": "has no item twice",
}  # fmt: skip
_COUNTING: Final = {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
_SHOWN_MAX = 200


def schema_rule(keyword: str, wanted: object) -> str:
    """The rule that a keyword of a JSON Schema is; what is `wanted` is the schema's, shown as far as it is short."""
    if keyword == "type" and isinstance(wanted, str | list):
        kinds = [wanted] if isinstance(wanted, str) else wanted
        return " or ".join(_TYPES.get(str(kind), str(kind)) for kind in kinds)
    if wanted is False:
        return "is left out"
    if keyword not in _KEYWORDS:
        return f"fits {keyword} of its schema"
    shown = wanted if keyword in ("pattern", "format") else json.dumps(wanted)
    rule = _KEYWORDS[keyword].format(_number(wanted) if isinstance(wanted, int | float) else str(shown)[:_SHOWN_MAX])
    return rule.removesuffix("s") if wanted == 1 and keyword in _COUNTING else rule
