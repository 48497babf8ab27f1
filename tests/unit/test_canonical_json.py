"""One value has one text, that of RFC 8785: the same bytes wherever and whenever it is written."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.infrastructure.canonical_json import canonical

NUMBERS = {  # RFC 8785, appendix B: a double as 8 bytes, and its text
    "0000000000000000": "0", "8000000000000000": "0", "0000000000000001": "5e-324", "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308", "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992", "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000", "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23", "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000", "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21", "3eb0c6f7a0b5ed8c": "9.999999999999997e-7", "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332", "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333", "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343", "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}  # fmt: skip

TEXT = st.text(st.characters(codec="utf-8"))
FLOATS = st.floats(-(2**53), 2**53)  # beyond, whole doubles read back as integers
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(("double", "text"), NUMBERS.items())
def test_numbers_are_written_as_the_rfc_says(double: str, text: str) -> None:
    """The shortest digits that read back as the same double, with an exponent where ECMAScript has one."""
    assert canonical(struct.unpack(">d", bytes.fromhex(double))[0]) == text


def test_strings_are_escaped_as_the_rfc_says() -> None:
    """Only what must be; the example of section 3.2.2."""
    text = "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/"
    assert canonical(text) == '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'


def test_keys_are_sorted_by_code_units() -> None:
    """Of UTF-16, as in section 3.2.3: a character beyond the first plane comes before U+FB33."""
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    expected = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(canonical(dict.fromkeys(keys, 0)))) == expected


def test_nothing_stands_between() -> None:
    """No spaces; null, true and false as they are; whole numbers in full."""
    value = {"b": [1, 1.0, 2.5, True, None], "a": {"y": -0.0, "x": 10**20}}
    assert canonical(value) == '{"a":{"x":100000000000000000000,"y":0},"b":[1,1,2.5,true,null]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_json_has_not_is_refused(value: float) -> None:
    """Rather than written as something else."""
    with pytest.raises(ValueError, match="is not JSON"):
        canonical([value])
    with pytest.raises(TypeError, match="set is not JSON"):
        canonical({value})


@given(JSON)
def test_reading_gives_the_value_back_and_writing_it_the_text(value: object) -> None:
    """Whatever the value; a line never breaks within it."""
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(json.loads(text)) == text
    assert "\n" not in text and "\r" not in text
