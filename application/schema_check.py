"""Whether the JSON Schemas of a job type can be used: for definitions that no program of ours made."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import JsonValue

from jobledger.domain.errors import InvalidInput
from jobledger.domain.job_type import JobTypeDefinition

_REFERENCES = ("$ref", "$dynamicRef")


def require_usable_schemas(definition: JobTypeDefinition) -> None:
    """Raise `InvalidInput` for a schema that is none, or refers to anything but itself: nothing is ever fetched."""
    for name, schema in (("payload_schema", definition.payload_schema), ("result_schema", definition.result_schema)):
        _require_schema(schema, name)
        _require_references(schema, name)


def _require_schema(schema: dict[str, JsonValue], name: str) -> None:
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415 - as in `registered_type`

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        path = ".".join([name, *(str(part) for part in error.absolute_path)])
        raise InvalidInput(
            f"does not fit {error.validator}", field=path, rule="is a JSON Schema, draft 2020-12"
        ) from error
    except RecursionError as error:
        raise InvalidInput("is nested too deeply", field=name, rule="is a JSON Schema, draft 2020-12") from error


def _require_references(schema: dict[str, JsonValue], name: str) -> None:
    from referencing import Registry  # noqa: PLC0415
    from referencing.exceptions import Unresolvable  # noqa: PLC0415
    from referencing.jsonschema import DRAFT202012  # noqa: PLC0415

    resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
    for reference in _references(schema):
        try:
            if reference.startswith("#"):
                resolver.lookup(reference)
                continue
        except Unresolvable:
            pass
        raise InvalidInput(
            f"it refers to {reference[:200]!r}, which is not in it", field=name, rule="refers to itself only",
            hint="put what is referred to under $defs",
        )  # fmt: skip


def _references(value: JsonValue) -> Iterator[str]:
    """Every reference; a property that happens to be called so is looked at, too, where it is a text."""
    if isinstance(value, dict):
        for name, member in value.items():
            if name in _REFERENCES and isinstance(member, str):
                yield member
            else:
                yield from _references(member)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)
