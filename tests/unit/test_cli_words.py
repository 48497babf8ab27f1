"""What people type on the command line: times and ages, and places of a payload."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobledger.domain.errors import InvalidInput
from jobledger.infrastructure.cli.input import parse_edits, pointer
from jobledger.infrastructure.cli.times import parse_past

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "before_now"),
    [
        ("0s", timedelta()), ("90s", timedelta(seconds=90)), ("30m", timedelta(minutes=30)),
        ("2h", timedelta(hours=2)), ("7d", timedelta(days=7)), ("2w", timedelta(weeks=2)),
        ("2026-03-02T13:00:00+02:00", timedelta(hours=1)),
    ],
)  # fmt: skip
def test_a_time_in_the_past_may_be_an_age(text: str, before_now: timedelta) -> None:
    """Or a moment with its zone, as everywhere."""
    assert parse_past(text, "--since", NOW) == NOW - before_now
    assert parse_past(None, "--since", NOW) is None


@pytest.mark.parametrize("text", ["2", "h", "2y", "-2h", "2 h", "1.5h", "²h", "9999999999h", "999999999w", "yesterday"])
def test_other_ages_are_refused(text: str) -> None:
    """With the option and an example of each form."""
    with pytest.raises(InvalidInput) as caught:
        parse_past(text, "--since", NOW)
    assert caught.value.field == "--since"
    assert caught.value.hint is None or "2h" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("email=a@b.example", {"/email": "a@b.example"}), ("text=a=b", {"/text": "a=b"}), ("empty=", {"/empty": ""}),
        ("copies:=2", {"/copies": 2}), ("lines.0.amount:=5", {"/lines/0/amount": 5}), ("note:=null", {"/note": None}),
        ('tags:=["x=y"]', {"/tags": ["x=y"]}), ("/a~1b/c=d", {"/a~1b/c": "d"}), ("a/b=1", {"/a~1b": "1"}),
        ("lines.-:={}", {"/lines/-": {}}),
    ],
)  # fmt: skip
def test_a_place_and_its_value(text: str, edit: dict[str, object]) -> None:
    """`=` is text, `:=` is JSON; dots, or a JSON pointer."""
    assert parse_edits([text], "--set") == edit


@pytest.mark.parametrize("text", ["", "=", ":=1", "email", "copies:=two", "copies:=", "x:=" + "[" * 100_000])
def test_what_names_no_place_or_value_is_refused(text: str) -> None:
    """By the option that carries it; the message is short."""
    with pytest.raises(InvalidInput) as caught:
        parse_edits([text], "--set")
    assert caught.value.field == "--set" and len(caught.value.message) < 200


def test_dots_become_a_pointer() -> None:
    """Names are escaped."""
    assert pointer("customer.e~mail") == "/customer/e~0mail"
    assert pointer("/as/it/is") == "/as/it/is"
