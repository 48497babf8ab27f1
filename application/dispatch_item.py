"""What is asked for when a job is dispatched: one item, from code, from a reaction, or from a line of a file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from pydantic import BaseModel, TypeAdapter, ValidationError

from jobledger.domain.errors import InvalidInput, Refusal
from jobledger.domain.retry import Retry

from .validation import invalid_input

Payload = Mapping[str, object] | BaseModel | bytes | str
"""A mapping, an instance of the type's payload model, or JSON text."""

_EMPTY: Mapping[str, object] = MappingProxyType({})


class Dispatch(NamedTuple):
    """A job to dispatch: its type, its payload, for whom, and options that override those of its type.

    Nothing is checked here: an item is checked where it is dispatched, so that a reaction stays a pure function.
    `run_at` (aware) and `delay_seconds` exclude each other. A `manual` dispatch needs a `reason`. `line` is the line
    or number of the item in its batch; results repeat it. `key_prefix` makes a key of prefix and payload where neither
    the item nor its type gives one: what a handler dispatches again in its next attempt is the same job. With
    `allowed_queues` it is refused where its options bring it into another queue: authorization says so. `request_key`
    is the key where neither the item nor its type gives one: a request that is sent again is the same job.
    """

    job_type: str
    payload: Payload = _EMPTY
    tenant: str = ""
    persona: str | None = None
    idempotency_key: str | None = None
    job_id: UUID | None = None
    queue: str | None = None
    priority: int | None = None
    retry: Retry | None = None
    timeout_seconds: float | None = None
    soft_timeout_seconds: float | None = None
    max_stalled: int | None = None
    lock_key: str | None = None
    limit_key: str | None = None
    run_at: datetime | None = None
    delay_seconds: float | None = None
    depends_on: tuple[UUID, ...] | None = None
    correlation_id: str | None = None
    trace_parent: str | None = None
    causation_id: str | None = None
    manual: bool = False
    reason: str | None = None
    line: int | None = None
    key_prefix: str | None = None
    allowed_queues: frozenset[str] | None = None
    request_key: str | None = None


class Malformed(NamedTuple):
    """An item of a batch that could not even be read. It is refused, and recorded, in its place."""

    line: int
    error: Refusal
    tenant: str = ""
    job_type: str = ""


class _Line(NamedTuple):
    """The fields of a line of JSON; those of `Dispatch` that a file may hold."""

    type: str
    payload: dict[str, object] = {}  # noqa: RUF012 - nobody changes it
    tenant: str = ""
    persona: str | None = None
    idempotency_key: str | None = None
    job_id: UUID | None = None
    queue: str | None = None
    priority: int | None = None
    retry: Retry | None = None
    timeout_seconds: float | None = None
    soft_timeout_seconds: float | None = None
    max_stalled: int | None = None
    lock_key: str | None = None
    limit_key: str | None = None
    run_at: datetime | None = None
    delay_seconds: float | None = None
    depends_on: tuple[UUID, ...] | None = None
    correlation_id: str | None = None
    trace_parent: str | None = None


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""The escape of one half of a pair; two of them are a character."""

_LINE: TypeAdapter[_Line] = TypeAdapter(_Line)


def parse_line(
    text: str, number: int, *, tenant: str = "", persona: str | None = None, reason: str | None = None
) -> Dispatch | Malformed:
    """An item from a line of JSON Lines: an object with `type`, `payload` and any option of `Dispatch`.

    `tenant` and `persona` are used where the line names none; `reason` makes the dispatch a manual one.
    """
    stored: object = None
    try:
        stored = _read(text)
        if not isinstance(stored, dict):
            raise InvalidInput("a line is not a JSON object", field="line", rule="is a JSON object")
        fields = _LINE.validate_python(stored)._asdict()
    except ValueError as error:
        return Malformed(number, _why(error), *_claims(stored, tenant))
    except InvalidInput as error:
        return Malformed(number, error, *_claims(stored, tenant))
    fields["job_type"] = fields.pop("type")
    fields["tenant"] = fields["tenant"] or tenant
    fields["persona"] = fields["persona"] or persona
    return Dispatch(**fields, manual=reason is not None, reason=reason, line=number)


def parse_lines(
    lines: Sequence[str], *, tenant: str = "", persona: str | None = None, reason: str | None = None
) -> list[Dispatch | Malformed]:
    """All items of a JSON Lines text; empty lines are skipped, numbers count from 1."""
    numbered = enumerate(lines, start=1)
    return [parse_line(t, n, tenant=tenant, persona=persona, reason=reason) for n, t in numbered if t.strip()]


def _read(text: str) -> object:
    """A line's JSON; lone surrogates, which no UTF-8 holds, and nesting without end are none."""
    try:
        stored: object = json.loads(text)
        if not text.isascii() or _SURROGATE.search(text):
            json.dumps(stored, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("a line holds what is not Unicode text", field="line", rule="is UTF-8 text") from error
    except RecursionError as error:
        raise InvalidInput("a line is nested too deeply", field="line", rule="nests as a payload may") from error
    return stored


def _why(error: ValueError) -> InvalidInput:
    if isinstance(error, ValidationError):
        return invalid_input(error)
    detail = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
    return InvalidInput(f"a line is not JSON{detail}", field="line", rule="is a JSON object")


def _claims(stored: object, tenant: str) -> tuple[str, str]:
    if not isinstance(stored, dict):
        return tenant, ""
    return str(stored.get("tenant") or tenant), str(stored.get("type") or "")
