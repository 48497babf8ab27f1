"""Tables of the generated references."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import cleandoc


def field_rows(schema: Mapping[str, object]) -> list[str]:
    """The fields of a JSON Schema, a row each; `*` marks those that are always given."""
    properties, required = schema.get("properties", {}), schema.get("required", [])
    assert isinstance(properties, dict) and isinstance(required, list)
    return [
        f"| `{name}`{'*' if name in required else ''} | {cell(type_text(field))} |"
        for name, field in properties.items()
    ]


def type_text(field: object) -> str:
    """What a field holds."""
    if not isinstance(field, dict):
        return "anything"
    if "anyOf" in field:
        return " or ".join(type_text(choice) for choice in field["anyOf"])
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    kind = str(field.get("format") or field.get("type") or field.get("const") or "anything")
    return f"list of {type_text(field['items'])}" if kind == "array" and "items" in field else kind


def cell(text: str) -> str:
    """Text in a cell."""
    return cleandoc(text).replace("\n", " ").replace("|", "\\|")
