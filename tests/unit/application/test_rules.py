"""Rules are told in plain words."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from jobledger.application.rules import schema_rule
from jobledger.application.validation import invalid_input


class Colour(StrEnum):
    """Some."""

    RED = "red"
    BLUE = "blue"


class Everything(BaseModel):
    """A field of each kind."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=4_096, pattern="^[a-z]*$")] = "a"
    code: Annotated[str, Field(min_length=2)] = "ab"
    number: Annotated[int, Field(ge=1, le=100_000)] = 1
    share: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 0.5
    flag: bool = False
    colour: Colour = Colour.RED
    kind: Literal["work", "ai"] = "work"
    job: UUID | None = None
    at: AwareDatetime | None = None
    day: datetime | None = None
    items: Annotated[list[str], Field(min_length=1, max_length=2)] = Field(default=["a"])
    facts: dict[str, int] = Field(default={})
    even: int = 0

    @field_validator("even")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("is even, always")
        return value


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("name", "", "at least 1 character"), ("name", "a" * 5_000, "at most 4,096 characters"),
        ("name", "A", "matches ^[a-z]*$"), ("name", 1, "is text"), ("code", "a", "at least 2 characters"),
        ("number", 0, "at least 1"), ("number", 100_001, "at most 100,000"), ("number", "x", "is a whole number"),
        ("number", 1.5, "is a whole number"), ("share", 0, "more than 0"), ("share", 1.0, "less than 1"),
        ("share", "x", "is a number"), ("share", float("nan"), "is a number, and finite"),
        ("flag", "maybe", "is true or false"), ("colour", "green", "is 'red' or 'blue'"),
        ("kind", "play", "is 'work' or 'ai'"), ("job", "x", "is a UUID"), ("at", "2026-01-01T00:00", "has a time zone"),
        ("day", "never", "is a time with a zone"), ("items", [], "at least 1 item"),
        ("items", ["a"] * 3, "at most 2 items"), ("items", "a", "is a list"), ("facts", [], "is an object"),
        ("even", 1, "is even, always"), ("nobody", 1, "is a field that is known"),
    ],
)  # fmt: skip
def test_a_rule_is_plain(field: str, value: Any, rule: str) -> None:  # noqa: ANN401 - whatever is wrong
    """None of pydantic's names, and never the value."""
    with pytest.raises(ValidationError) as wrong:
        Everything.model_validate({field: value})
    refused = invalid_input(wrong.value)
    assert (refused.field, refused.rule) == (field, rule)


def test_what_is_missing_is_to_be_given() -> None:
    """Also where it is nested."""

    class Outer(BaseModel):
        reason: str

    with pytest.raises(ValidationError) as wrong:
        Outer.model_validate({})
    assert invalid_input(wrong.value).rule == "is given"


@pytest.mark.parametrize(
    ("keyword", "wanted", "rule"),
    [
        ("type", "integer", "is a whole number"), ("type", ["string", "null"], "is text or is null"),
        ("minLength", 1, "at least 1 character"), ("maxLength", 4_096, "at most 4,096 characters"),
        ("minimum", 0.5, "at least 0.5"), ("exclusiveMaximum", 10, "less than 10"), ("minItems", 2, "at least 2 items"),
        ("enum", ["a", "b"], 'is one of ["a", "b"]'), ("const", "a", 'is "a"'), ("pattern", "^a", "matches ^a"),
        ("format", "date", "is a date"), ("required", ["a"], "is given"), ("oneOf", [{}], "fits oneOf of its schema"),
        ("additionalProperties", None, "is a field that is known"), ("enum", ["a" * 999], 'is one of ["' + "a" * 198),
    ],
)  # fmt: skip
def test_a_rule_of_a_schema_is_plain(keyword: str, wanted: object, rule: str) -> None:
    """As far as it is short."""
    assert schema_rule(keyword, wanted) == rule
