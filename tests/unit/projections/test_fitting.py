"""Looking at each row: whatever fits passes, so that a suspected view parks nothing that it could take."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import pytest
from hypothesis import given as for_all

from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.fitting import INTEGER_MAX, INTEGER_MIN, broken_rule, fitting
from jobledger.projections.projection import Column, ColumnType
from tests.support.seen import as_seen, fold_all, histories, moves


class Word(StrEnum):
    """Text with a name."""

    YES = "yes"


@for_all(chosen=moves)
def test_rows_of_every_view_pass(chosen: list[tuple[int, str, float]]) -> None:
    """Random histories come to the same rows, looked at or not."""
    events = as_seen(histories(chosen))
    for projection in ALL_PROJECTIONS:
        assert fold_all(fitting(projection), events) == fold_all(projection, events)


@pytest.mark.parametrize(
    ("column_type", "value"),
    [
        ("uuid", UUID(int=0)), ("text", ""), ("text", "\U0001f40d" * 9_000), ("text", Word.YES), ("integer", True),
        ("integer", INTEGER_MAX), ("integer", INTEGER_MIN), ("real", 3), ("real", 1e308), ("real", float("inf")),
        ("boolean", False), ("timestamp", datetime.max.replace(tzinfo=UTC)),
    ],
)  # fmt: skip
def test_what_a_column_takes(column_type: ColumnType, value: object) -> None:
    """The edges of each type."""
    assert broken_rule(Column("some", column_type), value) is None


@pytest.mark.parametrize(
    ("column_type", "value"),
    [
        ("uuid", str(UUID(int=0))), ("text", b"bytes"), ("text", "a\x00"), ("text", "\udcff"),
        ("integer", INTEGER_MAX + 1), ("integer", INTEGER_MIN - 1), ("integer", 1.0), ("real", "1"),
        ("real", float("nan")), ("real", 10**400), ("boolean", 1), ("timestamp", 17), ("text", None),
    ],
)  # fmt: skip
def test_what_a_column_does_not_take(column_type: ColumnType, value: object) -> None:
    """The rule says what it should be, and nothing of what it is."""
    rule = broken_rule(Column("some", column_type), value)
    assert rule is not None and rule.startswith(("is ", "holds ", "can "))


def test_a_column_that_may_be_empty_takes_nothing() -> None:
    """Only such a one."""
    assert broken_rule(Column("some", "text", nullable=True), None) is None
