"""Payloads of types that the registry alone knows: looked into only as far as an answer needs."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from jobledger.application.registered_type import RegisteredType
from jobledger.application.tracing_requests import event_place
from jobledger.domain.errors import InvalidInput, PayloadTooLarge
from jobledger.domain.job_type import JobTypeDefinition

SCHEMA: dict[str, JsonValue] = {
    "type": "object", "required": ["ids"], "additionalProperties": False,
    "properties": {"ids": {"type": "array", "items": {"type": "integer"}}},
}  # fmt: skip


@pytest.fixture
def known() -> RegisteredType:
    """A type whose payloads hold a list of numbers, and may have 1,000 bytes."""
    definition = JobTypeDefinition(
        name="numbers.add", payload_schema=SCHEMA, result_schema={}, payload_limit_bytes=1_000
    )  # fmt: skip
    return RegisteredType(definition)


def test_what_is_too_large_is_not_looked_into(known: RegisteredType) -> None:
    """Its size is told, though nothing in it fits: to find that out would take long."""
    with pytest.raises(PayloadTooLarge):
        known.accept({"ids": [""] * 1_000})


def test_one_of_many_errors_is_told(known: RegisteredType) -> None:
    """However many there are; without the value, which may be anything."""
    with pytest.raises(InvalidInput) as refused:
        known.accept({"ids": [""] * 150})
    assert (refused.value.field, refused.value.rule) == ("payload.ids.0", "is a whole number")
    assert refused.value.message == 'does not fit type: "integer"'


def test_a_missing_field_is_told_first(known: RegisteredType) -> None:
    """Whatever else is wrong."""
    with pytest.raises(InvalidInput) as refused:
        known.accept({"colour": 1})
    assert (refused.value.field, refused.value.rule) == ("payload.ids", "is given")


@pytest.mark.parametrize(
    ("value", "field"),
    [({"text": "a\x00b"}, "text"), ({"lines": ["", {"text": "\x00"}]}, "lines.1.text"), ({"a\x00": 1}, "")],
)  # fmt: skip
def test_no_text_holds_nul(value: dict[str, JsonValue], field: str) -> None:
    """Neither of a payload nor of a result, wherever it stands: it is named."""
    known = RegisteredType(JobTypeDefinition(name="text.keep", payload_schema={}, result_schema={}))
    for take, within in ((known.accept, "payload"), (known.encode_result, "result")):
        with pytest.raises(InvalidInput) as refused:
            take(value)
        assert refused.value.field == f"{within}.{field}".rstrip(".")


def test_what_only_looks_like_nul_is_text() -> None:
    """A backslash and `u0000` are six characters."""
    known = RegisteredType(JobTypeDefinition(name="text.keep", payload_schema={}, result_schema={}))
    assert known.accept({"text": "\\u0000"}).body == rb'{"text":"\\u0000"}'


@pytest.mark.parametrize(
    "version", ["0", "2147483648", "00000000011", f"0000000001{'9' * 100}", f"{'0' * 5_000}1", "-1", "\u0661", ""]
)
def test_no_version_of_an_event_is_that_large(version: str) -> None:
    """What claims to be an event's id, and is none, is the id of a message from elsewhere."""
    assert event_place(f"018f5d1e-6c00-7000-8000-000000000001.{version}") is None


def test_the_largest_version_is_one() -> None:
    """2,147,483,647, as the ledger counts."""
    place = event_place("018f5d1e-6c00-7000-8000-000000000001.2147483647")
    assert place is not None
    assert place[1] == 2_147_483_647
