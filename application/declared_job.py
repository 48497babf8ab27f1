"""A job type as a program declares it: its definition, its handler, and how payloads and results are read."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_jsonable_python

from jobledger.domain.errors import InvalidInput, PayloadTooLarge
from jobledger.domain.job_type import JobTypeDefinition

from .error_policy import NO_POLICY, ErrorPolicy
from .secret_ref import SecretSource, resolve_references
from .validation import invalid_input

KEY_LENGTH_MAX = 255
_LITERAL_MAX = KEY_LENGTH_MAX - 71
"""Characters in front of a hash, which takes 71."""
DEPTH_MAX = 200
"""How deeply pydantic reads JSON that is nested."""
_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")

Handler = Callable[..., object]
KeyOf = Callable[[Any], str | None]
"""Computes a key from a validated payload."""


class AcceptedPayload(NamedTuple):
    """A payload that fits its type: canonical JSON, and the keys that the type computes from it."""

    body: bytes
    idempotency_key: str | None
    lock_key: str | None
    limit_key: str | None = None


@dataclass(frozen=True, slots=True)
class DeclaredJob:
    """A job type with its code. `sorts` is set where the payload may hold free-form objects, whose keys then have to
    be sorted to make equal payloads equal bytes; and floats, of which pydantic would write NaN as null. `checks_result`
    is the latter for results."""

    definition: JobTypeDefinition
    handler: Handler
    is_async: bool
    payload: TypeAdapter[Any]
    result: TypeAdapter[Any]
    key_of: KeyOf | None = None
    lock_key_of: KeyOf | None = None
    sorts: bool = False
    checks_result: bool = False
    payload_fingerprint: str = ""
    in_process: bool = False
    """Runs in a child process."""
    memory_limit_mb: int | None = None
    """What its process may hold; None: no limit of its own."""
    errors: ErrorPolicy = NO_POLICY

    def accept(self, payload: object) -> AcceptedPayload:
        """Validate a payload to dispatch. `InvalidInput` names field and rule, `PayloadTooLarge` the limit."""
        value = self.read(payload)
        body = self._canonical(value)
        check_size(body, self.definition.payload_limit_bytes, "payload")
        check_depth(body, "payload")
        return AcceptedPayload(body, self._key(value), self._lock_key(value), self._limit_key(value))

    def read_resolved(self, payload: bytes, secrets: SecretSource) -> object:
        """`read`, with every reference to a secret resolved. Raises what `secrets` raises, too."""
        try:
            value: object = self.payload.validator.validate_json(payload, context=secrets)
        except ValidationError as error:
            raise invalid_input(error, within="payload") from error
        return resolve_references(value, secrets)

    def read(self, payload: object) -> object:
        """The payload as the handler takes it. Raises `InvalidInput` where it does not fit."""
        try:
            if type(payload) is not dict:
                if isinstance(payload, bytes | str):
                    return self.payload.validator.validate_json(payload)
                if isinstance(payload, Mapping):  # models take dicts and instances, no other mappings
                    payload = dict(payload)
            return self.payload.validator.validate_python(payload)
        except ValidationError as error:
            raise invalid_input(error, within="payload") from error

    def encode_result(self, value: object) -> bytes:
        """What the handler returned, as canonical JSON. Raises `InvalidInput` where it does not fit its annotation."""
        try:
            valid = self.result.validator.validate_python(value)
            body = _as_json(self.result, valid, checked=self.checks_result)
        except ValidationError as error:
            raise invalid_input(error, within="result") from error
        except ValueError as error:
            raise InvalidInput(str(error), field="result", rule="can be written as JSON") from error
        except RecursionError as error:
            raise too_deep("result") from error
        check_size(body, self.definition.result_limit_bytes, "result")
        check_depth(body, "result")
        return body

    def _canonical(self, value: object) -> bytes:
        try:
            return _as_json(self.payload, value, checked=self.sorts)
        except ValueError as error:  # pydantic's own error is one, and so is json's for a number that is none
            raise InvalidInput(str(error), field="payload", rule="can be written as JSON") from error
        except RecursionError as error:
            raise too_deep("payload") from error

    def _key(self, value: object) -> str | None:
        if self.key_of is not None:
            return short_enough(self.key_of(value))
        fields = self.definition.idempotency_key_fields
        if len(fields) == 1:
            return key_of_one(_field(value, fields[0]))
        return key_from([_field(value, field) for field in fields]) if fields else None

    def _lock_key(self, value: object) -> str | None:
        if self.lock_key_of is not None:
            return short_enough(self.lock_key_of(value))
        template = self.definition.options.lock_key
        return None if template is None else fill_key(template, lambda field: _field(value, field))

    def _limit_key(self, value: object) -> str | None:
        template = self.definition.options.limit_key
        return None if template is None else fill_limit_key(template, lambda field: _field(value, field))


def _as_json(adapter: TypeAdapter[Any], value: object, *, checked: bool) -> bytes:
    """JSON straight from pydantic, or (slower) with sorted keys and an error for numbers that JSON does not have."""
    if not checked:
        return adapter.serializer.to_json(value, by_alias=True)
    return canonical_json(adapter.serializer.to_python(value, mode="json", by_alias=True))


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys and no spaces, UTF-8: equal values are equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def key_from(values: list[object]) -> str:
    """An idempotency key from the values of its fields, as JSON; a single text as it is."""
    if len(values) == 1:
        return key_of_one(values[0])
    return _bounded(canonical_json(to_jsonable_python(values)).decode())


def key_of_one(value: object) -> str:
    """An idempotency key from the value of its only field."""
    if type(value) is str:
        return _bounded(value)
    return str(value) if type(value) is int else _bounded(canonical_json(to_jsonable_python(value)).decode())


def short_enough(key: str | None) -> str | None:
    """A computed key, hashed where it is longer than a key may be; an empty one is none."""
    return _bounded(key) if key else None


def fill_key(template: str, field: Callable[[str], object]) -> str:
    """A lock key with each `{field}` replaced by that field of the payload."""
    return template if "{" not in template else _bounded(_filled(template, field))


def fill_limit_key(template: str, field: Callable[[str], object]) -> str:
    """A limit key, the same way. One that has to be hashed still begins as the template does: a long value must not
    slip through a limit of `gateway:*`."""
    if "{" not in template:
        return template
    key = _filled(template, field)
    bounded = _bounded(key)
    return bounded if bounded == key else f"{template[: template.index('{')][:_LITERAL_MAX]}{bounded}"


def _filled(template: str, field: Callable[[str], object]) -> str:
    return _FIELD.sub(lambda match: str(to_jsonable_python(field(match[1]))), template)


def fields_in(template: str) -> tuple[str, ...]:
    """The payload fields that a lock key or limit key names."""
    return tuple(_FIELD.findall(template))


def check_size(body: bytes, limit_bytes: int, what: str) -> None:
    """Raise `PayloadTooLarge` above the limit."""
    if len(body) > limit_bytes:
        raise PayloadTooLarge(
            f"{len(body):,} bytes are more than the {limit_bytes:,} allowed", field=what,
            rule=f"at most {limit_bytes} bytes", hint="store the data elsewhere and pass a reference",
        )  # fmt: skip


def check_depth(body: bytes, what: str) -> None:
    """Raise `InvalidInput` where JSON nests deeper than it could be read again."""
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX:
        try:
            from_json(body)
        except ValueError as error:
            raise too_deep(what) from error


def too_deep(what: str) -> InvalidInput:
    """The refusal of what nests too deeply."""
    return InvalidInput("lists and objects are nested too deeply", field=what, rule=f"nests at most {DEPTH_MAX} deep")


def has_free_form_objects(schema: object) -> bool:
    """Whether values of a JSON Schema may hold objects whose keys come in any order."""
    if isinstance(schema, list):
        return any(has_free_form_objects(part) for part in schema)
    if not isinstance(schema, dict):
        return False
    if schema.get("type") == "object" and "properties" not in schema:
        return True
    if schema.get("additionalProperties") not in (None, False) or "patternProperties" in schema:
        return True
    subschemas = [*_values(schema.get("properties")), *_values(schema.get("$defs"))]
    if any(_says_nothing(part) for part in subschemas):
        return True
    nested = [schema[name] for name in ("items", "prefixItems", "anyOf", "oneOf", "allOf") if name in schema]
    return any(_says_nothing(part) for part in nested) or has_free_form_objects([*subschemas, *nested])


def may_hold_floats(schema: object) -> bool:
    """Whether values of a JSON Schema may hold a number that JSON does not have (NaN, infinity)."""
    if isinstance(schema, list):
        return any(may_hold_floats(part) for part in schema)
    if not isinstance(schema, dict):
        return False
    return schema.get("type") == "number" or any(may_hold_floats(part) for part in schema.values())


def is_coroutine_handler(handler: Handler) -> bool:
    """Whether calling the handler gives an awaitable."""
    return inspect.iscoroutinefunction(handler)


def _values(mapping: object) -> list[object]:
    return list(mapping.values()) if isinstance(mapping, dict) else []


def _says_nothing(schema: object) -> bool:
    """A schema without any keyword that constrains: anything goes, objects included."""
    constraints = {"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"}
    return isinstance(schema, dict) and not constraints & schema.keys()


def _field(value: object, field: str) -> object:
    return value[field] if isinstance(value, dict) else getattr(value, field)


def _bounded(key: str) -> str:
    """The key itself where a key may be like that: not too long, no NUL (which PostgreSQL's text cannot hold)."""
    if 0 < len(key) <= KEY_LENGTH_MAX and "\x00" not in key:
        return key
    return f"sha256:{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"
