"""An edited payload: from the text of a form to JSON, and what it changes, in words for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from pydantic import JsonValue

from jobledger.application.payload_edits import accept_edited
from jobledger.application.queries import JobDetails, ListJobTypes
from jobledger.application.registered_type import RegisteredType
from jobledger.domain import difference
from jobledger.domain.errors import InvalidInput

from ..harmless import escaped_json, harmless
from .services import Visitor

SHOWN_MAX = 100
"""Differences that a page shows."""
_VALUE_CHARACTERS_MAX = 2_000
_SIGNS = {"add": "added", "remove": "removed", "replace": "changed"}


class ShownChange(NamedTuple):
    """A place that differs: what was done to it, where it is, and its value before and after (None: there is none)."""

    what: str
    path: str
    before: str | None
    after: str | None


def editable(body: bytes | None) -> str:
    """A payload as text to edit: laid out, and in each place what it was. What would turn the order of words is
    escaped as JSON does it."""
    return "{}" if body is None else escaped_json(json.dumps(json.loads(body), indent=2, ensure_ascii=False))


def read_payload(text: str) -> dict[str, JsonValue]:
    """The JSON object in a form. Raises `InvalidInput` that says where it is none."""
    try:
        plain = text.replace("\r\n", "\n")
        found = json.loads(plain, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_float)
    except json.JSONDecodeError as error:
        _refuse(f"is no JSON at line {error.lineno}, column {error.colno}: {error.msg.lower()}")
    except RecursionError:
        _refuse("is nested too deeply")
    except ValueError as error:
        _refuse(f"is no JSON: {error}")
    if not isinstance(found, dict):
        _refuse("is a JSON object, in braces")
    return found


def changes(visitor: Visitor, job: JobDetails, payload: dict[str, JsonValue]) -> list[ShownChange]:
    """What it changes. Raises `InvalidInput` where the job's type does not take it, or nothing differs."""
    known = next(
        (row.definition for row in visitor.ask(ListJobTypes).value if row.definition.name == job.state.job_type), None
    )
    body = json.dumps(payload).encode()
    if known is not None:
        edited = accept_edited(RegisteredType(known), payload, job.payload)
        if edited is None:
            _refuse("is what it was before: nothing is changed")
        body = edited.body
    before = None if job.payload is None else json.loads(job.payload)
    return [_shown(one) for one in difference.differences(before, json.loads(body))]


def _shown(one: difference.Difference) -> ShownChange:
    before = None if one.op == "add" else _value(one.before)
    return ShownChange(
        _SIGNS[one.op], one.path or "all of it", before, None if one.op == "remove" else _value(one.after)
    )


def _value(value: JsonValue) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return harmless(text if len(text) <= _VALUE_CHARACTERS_MAX else f"{text[:_VALUE_CHARACTERS_MAX]} ...")


def _object(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        _refuse(f"names {twice[:60]!r} twice")
    return found


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        _refuse("has a number that is too large")
    return number


def _no_number(name: str) -> NoReturn:
    _refuse(f"has {name}, which is no number of JSON")


def _refuse(why: str) -> NoReturn:
    raise InvalidInput(why, field="payload", rule="is a JSON object that its type takes")
