"""Payloads as texts that people edit."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.domain.errors import InvalidInput
from jobledger.infrastructure.console.payload_edit import editable, read_payload

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_VALUES = st.recursive(_SCALARS, lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside), max_leaves=10)


@given(st.dictionaries(st.text(), _VALUES), st.booleans())
def test_what_nobody_edits_stays_as_it_is(payload: dict[str, object], windows: bool) -> None:
    """Through the text of the form and back, whatever is in it, also where a browser ends lines its own way."""
    text = editable(json.dumps(payload).encode())
    assert read_payload(text.replace("\n", "\r\n") if windows else text) == payload


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no JSON at line 1, column 1"), ('{"a": 1,\r\n "b" 2}', "is no JSON at line 2, column 6"),
        ("[1]", "is a JSON object"), ("null", "is a JSON object"), ('{"a": NaN}', "has NaN"),
        ('{"a": {"b": 1, "b": 2}}', "names 'b' twice"), ("[" * 100_000, "is nested too deeply"),
        (f'{{"a": {"9" * 5_000}}}', "is no JSON"), ('{"a": 1e999}', "has a number that is too large"),
    ],
)  # fmt: skip
def test_what_is_no_payload_is_told(text: str, said: str) -> None:
    """Where, or why."""
    with pytest.raises(InvalidInput, match=said) as refused:
        read_payload(text)
    assert refused.value.field == "payload"
