"""What differs between two JSON values, by JSON pointers (RFC 6901); and a value with a few places changed.

Lists are compared in place, after what they have in common at both ends: an element that was put in or taken out is
one difference, not one for each element behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, JsonValue

from .errors import InvalidInput

CHANGES_MAX = 100
PATH_LENGTH_MAX = 300

Operation = Literal["add", "remove", "replace"]


class Difference(NamedTuple):
    """One place that differs. `path` is that of the value after for `add`, else (also) that of the value before;
    `before` is None for `add`, `after` for `remove`."""

    op: Operation
    path: str
    before: JsonValue
    after: JsonValue


class Change(BaseModel):
    """A place that differs, without the values: what facts may hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    op: Operation
    path: str


def differences(before: JsonValue, after: JsonValue, path: str = "") -> Iterator[Difference]:
    """The places where two JSON values differ; nothing where they are equal (1, 1.0 and true are three values)."""
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _of_objects(before, after, path)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _of_lists(before, after, path)
    elif type(before) is not type(after) or before != after:
        yield Difference("replace", path, before, after)


def changes(found: Sequence[Difference]) -> tuple[Change, ...]:
    """The changed places, bounded: the first hundred; a path that is too long ends at a parent that fits."""
    bounded = (_bounded(difference) for difference in found)
    return tuple(dict.fromkeys(bounded))[:CHANGES_MAX]


def put(document: JsonValue, pointer: str, value: JsonValue) -> JsonValue:
    """The document with `value` at the place: replaced, or added to an object or (`-`) to the end of a list.
    `InvalidInput` where its parent is not there."""
    if not pointer:
        return value
    parent, last = _parent(document, pointer)
    if isinstance(parent, dict):
        changed: JsonValue = {**parent, last: value}
    else:
        index = len(parent) if last == "-" else _index(parent, last, pointer)
        changed = [*parent[:index], value, *parent[index + 1 :]]
    return put(document, pointer.rpartition("/")[0], changed)


def without(document: JsonValue, pointer: str) -> JsonValue:
    """The document without what is at the place. `InvalidInput` where nothing is."""
    parent, last = _parent(document, pointer)
    if isinstance(parent, dict):
        if last not in parent:
            raise _nothing_at(pointer)
        changed: JsonValue = {name: item for name, item in parent.items() if name != last}
    else:
        index = _index(parent, last, pointer)
        changed = [*parent[:index], *parent[index + 1 :]]
    return put(document, pointer.rpartition("/")[0], changed)


def pointer_to(*parts: str | int) -> str:
    """The pointer that these names and indexes make."""
    return "".join(f"/{_escaped(str(part))}" for part in parts)


def _of_objects(before: dict[str, JsonValue], after: dict[str, JsonValue], path: str) -> Iterator[Difference]:
    for name in {**before, **after}:  # in their order, those of before first
        inner = f"{path}/{_escaped(name)}"
        if name not in after:
            yield Difference("remove", inner, before[name], None)
        elif name not in before:
            yield Difference("add", inner, None, after[name])
        else:
            yield from differences(before[name], after[name], inner)


def _of_lists(before: list[JsonValue], after: list[JsonValue], path: str) -> Iterator[Difference]:
    first = _common(before, after)
    last = _common(before[first:][::-1], after[first:][::-1])
    old, new = before[first : len(before) - last], after[first : len(after) - last]
    for index in range(max(len(old), len(new))):
        inner = f"{path}/{first + index}"
        if index >= len(new):
            yield Difference("remove", inner, old[index], None)
        elif index >= len(old):
            yield Difference("add", inner, None, new[index])
        else:
            yield from differences(old[index], new[index], inner)


def _common(before: Sequence[JsonValue], after: Sequence[JsonValue]) -> int:
    """How many elements they begin with in common."""
    for index, (old, new) in enumerate(zip(before, after, strict=False)):
        if next(differences(old, new), None) is not None:
            return index
    return min(len(before), len(after))


def _bounded(difference: Difference) -> Change:
    op, path = difference.op, difference.path.encode("utf-8", "replace").decode()
    while len(path) > PATH_LENGTH_MAX:
        op, path = "replace", path.rpartition("/")[0]
    return Change(op=op, path=path)


def _parent(document: JsonValue, pointer: str) -> tuple[dict[str, JsonValue] | list[JsonValue], str]:
    """The object or list that holds the place, and the place's own name in it."""
    if not pointer.startswith("/"):
        raise InvalidInput(f"{pointer[:60]!r} is no path", field="payload", rule="a JSON pointer, /like/0/this")
    *names, last = [_unescaped(part) for part in pointer[1:].split("/")]
    found = document
    for name in names:
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list):
            found = found[_index(found, name, pointer)]
        else:
            raise _nothing_at(pointer)
    if not isinstance(found, dict | list):
        raise _nothing_at(pointer)
    return found, last


def _index(items: list[JsonValue], text: str, pointer: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) >= len(items):
        raise _nothing_at(pointer)
    return int(text)


def _nothing_at(pointer: str) -> InvalidInput:
    shown = pointer[1:PATH_LENGTH_MAX].replace("/", ".")
    return InvalidInput("there is no such place in the payload", field=f"payload.{shown}", rule="is in the payload")


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
