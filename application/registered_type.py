"""A job type as a client without its code knows it: from the installation's registry, by its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from jobledger.domain.errors import InvalidInput
from jobledger.domain.job_type import JobTypeDefinition

from .declared_job import (
    AcceptedPayload,
    canonical_json,
    check_depth,
    check_size,
    fill_key,
    fill_limit_key,
    has_free_form_objects,
    key_from,
    too_deep,
)
from .json_schema import JsonSchema
from .nul import refuse_nul

Json = dict[str, Any]


class RegisteredType:
    """Validates payloads as the registry's schema says. Equal payloads give the same bytes and keys as they do in a
    program that has the code, as long as they are spelled as that program would spell them."""

    def __init__(self, definition: JobTypeDefinition) -> None:
        self.definition = definition
        self.payload_fingerprint = definition.payload_fingerprint
        self._sorts = has_free_form_objects(definition.payload_schema)
        self._payload_schema = JsonSchema(definition.payload_schema, "payload_schema")
        self._result_schema = JsonSchema(definition.result_schema, "result_schema")

    def accept(self, payload: object) -> AcceptedPayload:
        """Validate a payload to dispatch. `InvalidInput` names field and rule, `PayloadTooLarge` the limit."""
        value = _as_json(payload)
        self._encode(value, _compact)  # what is too large is not looked into: that would take long
        self._payload_schema.require_fit(value, "payload")
        value = _completed(self.definition.payload_schema, value)
        body = self._encode(value, canonical_json if self._sorts else _compact)
        check_depth(body, "payload")
        refuse_nul(body, value, "payload")
        return AcceptedPayload(body, self._key(value), self._lock_key(value), self._limit_key(value))

    def _encode(self, value: Json, encode: Callable[[Json], bytes]) -> bytes:
        try:
            body = encode(value)
        except ValueError as error:
            raise InvalidInput("the payload is not JSON", field="payload", rule="is JSON") from error
        except RecursionError as error:
            raise too_deep("payload") from error
        check_size(body, self.definition.payload_limit_bytes, "payload")
        return body

    def encode_result(self, value: object) -> bytes:
        """Validate a result; as JSON. `InvalidInput` names field and rule."""
        try:
            plain: Any = to_jsonable_python(value)
        except PydanticSerializationError as error:
            raise InvalidInput("the result is not JSON", field="result", rule="is JSON") from error
        body = _compact(plain)
        check_size(body, self.definition.result_limit_bytes, "result")
        self._result_schema.require_fit(plain, "result")
        refuse_nul(body, plain, "result")
        return body

    def _key(self, value: Json) -> str | None:
        fields = self.definition.idempotency_key_fields
        return key_from([value.get(field) for field in fields]) if fields else None

    def _lock_key(self, value: Json) -> str | None:
        template = self.definition.options.lock_key
        return None if template is None else fill_key(template, value.get)

    def _limit_key(self, value: Json) -> str | None:
        template = self.definition.options.limit_key
        return None if template is None else fill_limit_key(template, value.get)


def _as_json(payload: object) -> Json:
    try:
        plain = (
            json.loads(payload, parse_constant=_refuse_constant)
            if isinstance(payload, bytes | str)
            else _jsonable(payload)
        )
    except (ValueError, PydanticSerializationError) as error:
        raise InvalidInput("the payload is not JSON", field="payload", rule="is JSON") from error
    except RecursionError as error:
        raise too_deep("payload") from error
    if not isinstance(plain, dict):
        raise InvalidInput("the payload is not an object", field="payload", rule="is a JSON object")
    return plain


def _jsonable(payload: object) -> object:
    if isinstance(payload, BaseModel):
        return payload.model_dump(mode="json", by_alias=True)
    return to_jsonable_python(dict(payload) if isinstance(payload, Mapping) else payload)


def _completed(schema: Mapping[str, object], value: Json) -> Json:
    """The payload in the order of the schema's properties, with their defaults: as the program itself writes it."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return value
    completed: Json = {}
    for name, property_schema in properties.items():
        if name in value:
            completed[name] = value[name]
        elif isinstance(property_schema, dict) and "default" in property_schema:
            completed[name] = property_schema["default"]
    return {**completed, **{name: item for name, item in value.items() if name not in completed}}


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
