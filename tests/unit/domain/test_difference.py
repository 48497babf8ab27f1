"""What differs between two JSON values, and changing a few places of one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import JsonValue

from jobledger.domain.difference import (
    CHANGES_MAX,
    PATH_LENGTH_MAX,
    Change,
    Difference,
    changes,
    differences,
    pointer_to,
    put,
    without,
)
from jobledger.domain.errors import InvalidInput

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 2.5]) | st.text("ab/~0", max_size=2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab/~0", max_size=2), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("replace", "/a", 1, 2)]),
        ({"a": 1}, {"b": 1}, [("remove", "/a", 1, None), ("add", "/b", None, 1)]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, [("replace", "/a/b/1", 2, 3)]),
        ({"a": None}, {}, [("remove", "/a", None, None)]),
        ({"a": {}}, {"a": []}, [("replace", "/a", {}, [])]),
        ([1, 2, 3, 4], [1, 3, 4], [("remove", "/1", 2, None)]),
        ([1, 2], [1, 9, 8, 2], [("add", "/1", None, 9), ("add", "/2", None, 8)]),
        ([{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 3}], [("replace", "/1/a", 2, 3)]),
        ({"a/b": 1, "c~d": 1}, {"a/b": 2, "c~d": 2}, [("replace", "/a~1b", 1, 2), ("replace", "/c~0d", 1, 2)]),
        (1, True, [("replace", "", 1, True)]),
        (1, 1.0, [("replace", "", 1, 1.0)]),
    ],
)
def test_each_place_that_differs_is_named(before: JsonValue, after: JsonValue, found: list[tuple[Any, ...]]) -> None:
    """With a JSON pointer, what happened there, and both values."""
    assert list(differences(before, after)) == [Difference(*one) for one in found]


@for_all(value=json_values)
def test_equal_values_do_not_differ(value: JsonValue) -> None:
    """Whatever they hold."""
    assert list(differences(value, json.loads(json.dumps(value)))) == []


@for_all(before=json_values, after=json_values)
def test_the_differences_lead_from_one_value_to_the_other(before: JsonValue, after: JsonValue) -> None:
    """Removed from the end, replaced, added in order: applied to the value before, they give the value after."""
    found = list(differences(before, after))
    result = before
    for one in reversed([one for one in found if one.op == "remove"]):
        result = without(result, one.path)
    for one in found:
        if one.op == "replace":
            result = put(result, one.path, one.after)
        elif one.op == "add":
            result = _added(result, one.path, one.after)
    assert json.dumps(result, sort_keys=True) == json.dumps(after, sort_keys=True)


def _added(document: JsonValue, pointer: str, value: JsonValue) -> JsonValue:
    """`put`, but into a list it inserts."""
    above, _, last = pointer.rpartition("/")
    parent: Any = document
    for part in above.split("/")[1:]:
        parent = parent[int(part)] if isinstance(parent, list) else parent[part.replace("~1", "/").replace("~0", "~")]
    if isinstance(parent, list):
        return put(document, above, [*parent[: int(last)], value, *parent[int(last) :]])
    return put(document, pointer, value)


def test_recorded_changes_hold_no_value_and_are_bounded() -> None:
    """At most a hundred places; a path that is too long ends at a parent that fits."""
    many = list(differences({}, {f"field-{n}": "secret" for n in range(500)}))
    recorded = changes(many)
    assert len(recorded) == CHANGES_MAX and recorded[0] == Change(op="add", path="/field-0")
    assert "secret" not in "".join(one.model_dump_json() for one in recorded)
    long = "x" * PATH_LENGTH_MAX
    assert changes(list(differences({"a": {}}, {"a": {long: 1, f"{long}y": 2}}))) == (Change(op="replace", path="/a"),)


@pytest.mark.parametrize(
    ("pointer", "value", "result"),
    [
        ("/a", 2, {"a": 2, "b": {"c": [1, 2]}}),
        ("/b/c/0", 9, {"a": 1, "b": {"c": [9, 2]}}),
        ("/b/c/-", 3, {"a": 1, "b": {"c": [1, 2, 3]}}),
        ("/b/d", None, {"a": 1, "b": {"c": [1, 2], "d": None}}),
        ("", 7, 7),
    ],
)
def test_a_place_is_put(pointer: str, value: JsonValue, result: JsonValue) -> None:
    """Replaced or added; the document given is left as it is."""
    document: JsonValue = {"a": 1, "b": {"c": [1, 2]}}
    assert put(document, pointer, value) == result
    assert document == {"a": 1, "b": {"c": [1, 2]}}


def test_a_place_is_taken_out() -> None:
    """Of an object or a list."""
    document: JsonValue = {"a": 1, "b": [1, {"c": 2}]}
    assert without(document, "/a") == {"b": [1, {"c": 2}]}
    assert without(document, "/b/0") == {"a": 1, "b": [{"c": 2}]}
    assert without(document, "/b/1/c") == {"a": 1, "b": [1, {}]}


@pytest.mark.parametrize("pointer", ["/x/y", "/b/5", "/b/x", "/b/-1", "/a/b", "/b/²", "no-pointer"])
def test_a_place_that_is_not_there_is_refused(pointer: str) -> None:
    """Typing errors do not make fields; the error names the path."""
    with pytest.raises(InvalidInput) as caught:
        put({"a": 1, "b": [1]}, pointer, 1)
    assert str(caught.value.field).startswith("payload")
    with pytest.raises(InvalidInput):
        without({"a": 1, "b": [1]}, pointer)
    with pytest.raises(InvalidInput):
        without({"a": 1}, "/x")


def test_names_are_escaped_in_a_pointer() -> None:
    """As RFC 6901 says."""
    assert pointer_to("a/b", "c~d", 0) == "/a~1b/c~0d/0"
    assert put({"a/b": {"c~d": [1]}}, "/a~1b/c~0d/0", 2) == {"a/b": {"c~d": [2]}}
