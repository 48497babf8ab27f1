"""JSON Schemas of job types: compiled, and asked whether a value fits.

Nothing that they refer to is fetched. Patterns are matched in time linear in the text wherever they can be; what cannot
(look-around, back references) gives up after so many steps, and is refused of who registers types over the network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, time, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from jobledger.domain.errors import InvalidInput

from .rules import schema_rule

if TYPE_CHECKING:
    import jsonschema_rs

_FIELD_SHOWN = 60
"""Characters of an unknown field's name that an error repeats: the name is the caller's, and may be anything."""
_BACKTRACK_LIMIT = 10_000
_RULE = "is a JSON Schema, draft 2020-12"


def require_usable(schema: Mapping[str, Any], name: str) -> None:
    """Raise `InvalidInput` for what is no schema, refers to anything but itself, or has patterns that may take long."""
    import jsonschema_rs  # noqa: PLC0415 - see `_compiled`

    _compiled(schema, name, jsonschema_rs.RegexOptions())


class JsonSchema:
    """One schema. Raises `InvalidInput` where it is none, or refers to anything but itself; `name` is its field."""

    def __init__(self, schema: Mapping[str, Any], name: str) -> None:
        import jsonschema_rs  # noqa: PLC0415 - see `_compiled`

        self._schema = dict(schema)
        bounded = jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT)
        self._validator = _compiled(self._schema, name, bounded)

    def require_fit(self, value: Any, within: str) -> None:  # noqa: ANN401 - any JSON
        """Raise `InvalidInput` for one thing that does not fit, a missing field of the value itself before others.
        However much is wrong, no more is looked for: a value may have a hundred thousand errors."""
        if self._validator.is_valid(value):
            return
        required = self._schema.get("required")
        if isinstance(value, dict) and isinstance(required, list):
            for missing in (field for field in required if field not in value):
                raise InvalidInput("Field required", field=f"{within}.{missing}", rule="is given")
        from jsonschema_rs import ValidationError as DoesNotFit  # noqa: PLC0415 - see `_compiled`

        try:
            self._validator.validate(value)
        except DoesNotFit as error:
            raise self._said(error, value, within) from None  # its message quotes the value, which may be anything

    def _said(self, error: jsonschema_rs.ValidationError, value: object, within: str) -> InvalidInput:
        path = ".".join([within, *map(str, error.instance_path)])
        keywords = [part for part in error.schema_path if isinstance(part, str)]
        keyword = keywords[-1] if keywords else "false"
        if keyword == "required":
            missing = str(getattr(error.kind, "property", ""))
            return InvalidInput("Field required", field=f"{path}.{missing}", rule="is given")
        if keyword == "additionalProperties":
            unknown = _unknown(_at(self._schema, error.schema_path[:-1]), _at(value, error.instance_path))
            field = f"{path}.{unknown[0][:_FIELD_SHOWN]}" if unknown else path
            return InvalidInput("the type does not know this field", field=field, rule=schema_rule(keyword, None))
        wanted = _at(self._schema, error.schema_path)
        shown = json.dumps(wanted)[:200]
        return InvalidInput(f"does not fit {keyword}: {shown}", field=path, rule=schema_rule(keyword, wanted))


def _compiled(
    schema: Mapping[str, Any], name: str, patterns: jsonschema_rs.RegexOptions | jsonschema_rs.FancyRegexOptions
) -> jsonschema_rs.Draft202012Validator:
    import jsonschema_rs  # noqa: PLC0415 - programs that declare their own types never need it

    try:
        jsonschema_rs.meta.validate({**schema, "$schema": "https://json-schema.org/draft/2020-12/schema"})
        return jsonschema_rs.Draft202012Validator(
            dict(schema), validate_formats=True, formats=_formats(), pattern_options=patterns, offline=True
        )
    except jsonschema_rs.ValidationError as error:
        raise _unusable(error, name) from error
    except ValueError as error:  # of nesting
        raise InvalidInput("is nested too deeply", field=name, rule=_RULE) from error


def _unusable(error: jsonschema_rs.ValidationError, name: str) -> InvalidInput:
    path = ".".join([name, *map(str, error.instance_path)])
    match error.kind.name:
        case "$ref":
            return InvalidInput(
                "it refers to what is not in it", field=name, rule="refers to itself only",
                hint="put what is referred to under $defs",
            )  # fmt: skip
        case "format" | "regex" | "pattern":
            return InvalidInput(
                "its pattern is no regular expression that is matched in linear time", field=path,
                rule="a regular expression without look-around and back references",
                hint="check what it cannot say in the job itself",
            )  # fmt: skip
        case kind:
            return InvalidInput(f"does not fit {kind}", field=path, rule=_RULE)


@cache
def _formats() -> dict[str, Callable[[str], bool]]:
    """Where pydantic reads more than RFC 3339 has: a program that declares the type accepts those, and writes some."""
    return {
        name: _reads(TypeAdapter(kind))
        for name, kind in (("date-time", datetime), ("time", time), ("duration", timedelta))
    }


def _reads(adapter: TypeAdapter[Any]) -> Callable[[str], bool]:
    def fits(text: str) -> bool:
        try:
            adapter.validate_json(json.dumps(text))
        except ValidationError:
            return False
        return True

    return fits


def _at(value: object, path: Sequence[str | int]) -> object:
    for part in path:
        if not isinstance(value, dict | list):
            return None
        value = value[part]  # type: ignore[index]
    return value


def _unknown(schema: object, instance: object) -> list[str]:
    if not isinstance(schema, dict) or not isinstance(instance, dict):
        return []
    return sorted(set(instance) - set(schema.get("properties", {})))
