"""JSON Schemas that anyone may have written."""

from __future__ import annotations

from typing import Any

import pytest

from jobledger.application.json_schema import JsonSchema, require_usable
from jobledger.domain.errors import InvalidInput


def refused(schema: dict[str, Any], value: object) -> tuple[str | None, str | None]:
    """Field and rule of the refusal."""
    with pytest.raises(InvalidInput) as error:
        JsonSchema(schema, "payload_schema").require_fit(value, "payload")
    return error.value.field, error.value.rule


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^(a|a)*$", r"^(\w+\s?)*$"])
def test_no_text_takes_a_pattern_long(pattern: str) -> None:
    """Half a million characters that a backtracking engine would look at for ages."""
    require_usable({"pattern": pattern}, "payload_schema")
    assert refused({"pattern": pattern}, "a" * 500_000 + "!") == ("payload", f"matches {pattern}")


@pytest.mark.parametrize("where", ["pattern", "patternProperties"])
@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", "("])
def test_a_pattern_that_may_take_long_is_not_registered(where: str, pattern: str) -> None:
    """Nor one that is none: field and rule say so."""
    schema = {"properties": {"x": {where: pattern if where == "pattern" else {pattern: {}}}}}
    with pytest.raises(InvalidInput) as error:
        require_usable(schema, "payload_schema")
    assert error.value.field is not None
    assert error.value.field.startswith(f"payload_schema.properties.x.{where}")
    assert error.value.rule == "a regular expression without look-around and back references"


def test_a_program_of_ours_may_look_around() -> None:
    """Such a pattern still gives up where it takes too many steps."""
    assert refused({"pattern": r"^(?=a)(a|a)*\Z"}, "a" * 500 + "!") == ("payload", r"matches ^(?=a)(a|a)*\Z")
    JsonSchema({"pattern": "^(?!x)a"}, "payload_schema").require_fit("ab", "payload")


@pytest.mark.parametrize("reference", ["http://127.0.0.1:1/x", "file:///etc/passwd", "#/no", "other.json"])
def test_nothing_is_fetched(reference: str) -> None:
    """A schema refers to itself only."""
    with pytest.raises(InvalidInput, match="refers to what is not in it"):
        require_usable({"properties": {"x": {"$ref": reference}}}, "payload_schema")


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({"type": 5}, "type"), ({"properties": {"x": {"minimum": "a"}}}, "properties.x.minimum"),
        ({"required": "x"}, "required"),
    ],
)  # fmt: skip
def test_what_is_no_schema(schema: dict[str, Any], field: str) -> None:
    """It says where."""
    with pytest.raises(InvalidInput) as error:
        require_usable(schema, "result_schema")
    assert error.value.field == f"result_schema.{field}"


def test_a_schema_without_end() -> None:
    """Is refused, not followed."""
    schema: dict[str, Any] = {}
    for _ in range(5_000):
        schema = {"not": schema}
    with pytest.raises(InvalidInput, match="nested too deeply"):
        require_usable(schema, "payload_schema")


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"required": ["a", "b"], "properties": {"a": {"type": "string"}}}, {"a": 1}, ("payload.b", "is given")),
        ({"properties": {"x": {"required": ["y"]}}}, {"x": {}}, ("payload.x.y", "is given")),
        ({"properties": {"a": {}}, "additionalProperties": False}, {"b": 1}, ("payload.b", "is a field that is known")),
        ({"items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"maximum": 3}}}, [4], ("payload.0", "at most 3")),
        ({"items": {"enum": [1]}}, [1, 2], ("payload.1", "is one of [1]")),
        ({"properties": {"d": {"format": "date-time"}}}, {"d": "yesterday"}, ("payload.d", "is a date-time")),
        ({"properties": {"d": False}}, {"d": 1}, ("payload.d", "is left out")),
    ],
)  # fmt: skip
def test_what_does_not_fit(schema: dict[str, Any], value: object, expected: tuple[str, str]) -> None:
    """Field and rule name it."""
    assert refused(schema, value) == expected


@pytest.mark.parametrize(
    ("format_name", "text"), [("date-time", "2026-11-23T10:00:00"), ("time", "10:00:00"), ("duration", "-P1DT2H")]
)
def test_what_pydantic_writes_fits(format_name: str, text: str) -> None:
    """A program that declares the type may write times that RFC 3339 does not have."""
    JsonSchema({"format": format_name}, "payload_schema").require_fit(text, "payload")
