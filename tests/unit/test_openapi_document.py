"""The OpenAPI document: everything in it has a name that stays, a description, and examples that are right."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from jsonschema_rs import Draft202012Validator

from jobledger.infrastructure.http.app import make_document
from jobledger.infrastructure.http.documented import TAGS
from tests.support.readme import billing

DOCUMENT: dict[str, Any] = make_document(version="1")
OPERATIONS: dict[str, dict[str, Any]] = {
    operation["operationId"]: operation for methods in DOCUMENT["paths"].values() for operation in methods.values()
}


class Shown(NamedTuple):
    """A body of a request or an answer."""

    place: str
    media_type: str
    content: dict[str, Any]

    @property
    def examples(self) -> list[Any]:
        """The values that it shows."""
        if "example" in self.content:
            return [self.content["example"]]
        return [_found(example).get("value") for example in self.content.get("examples", {}).values()]


def bodies(operation: dict[str, Any]) -> Iterator[Shown]:
    """Those of an operation."""
    for place, part in (("request", operation.get("requestBody", {})), *operation["responses"].items()):
        for media_type, content in part.get("content", {}).items():
            yield Shown(place, media_type, content)


def _found(part: dict[str, Any]) -> dict[str, Any]:
    """What a reference is to."""
    if "$ref" not in part:
        return part
    found: Any = DOCUMENT
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    assert isinstance(found, dict)
    return found


def test_schemas_have_short_names() -> None:
    """No module stands in them: they stay where modules move."""
    assert [name for name in DOCUMENT["components"]["schemas"] if not re.fullmatch(r"[A-Z][A-Za-z]{2,24}", name)] == []


def test_tags_and_the_server_are_described() -> None:
    """Each tag that an operation has, and no other."""
    described = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    assert described == TAGS and all(described.values())
    assert {tag for operation in OPERATIONS.values() for tag in operation["tags"]} == set(described)
    assert [server["url"] for server in DOCUMENT["servers"]] == ["/"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_parameters_are_described(name: str) -> None:
    """In a sentence."""
    for parameter in OPERATIONS[name].get("parameters", ()):
        assert parameter["description"].endswith((".", ")"))


@pytest.mark.parametrize("name", OPERATIONS)
def test_bodies_have_examples_that_are_right(name: str) -> None:
    """Of the request and of every answer, problems too: as their schemas have it."""
    for shown in bodies(OPERATIONS[name]):
        assert shown.examples, shown.place
        if "json" in shown.media_type and "cloudevents" not in shown.media_type and "jsonl" not in shown.media_type:
            validator = Draft202012Validator({**shown.content["schema"], "components": DOCUMENT["components"]})
            for example in shown.examples:
                assert [error.message for error in validator.iter_errors(example)] == []


def test_dispatches_that_are_shown_are_of_the_readme_s_type() -> None:
    """Whoever types them while the README's program runs is not refused."""
    shown = list(payloads([example for operation in OPERATIONS.values() for body in bodies(operation)
                           for example in body.examples]))  # fmt: skip
    assert len(shown) >= 4
    for payload in shown:
        billing().SendInvoice.model_validate(payload)


def payloads(part: Any) -> Iterator[Any]:  # noqa: ANN401 - any JSON
    """Those of `invoice.send` in it, also of JSON Lines."""
    if isinstance(part, str) and part.startswith("{"):
        part = [json.loads(line) for line in part.splitlines()]
    if isinstance(part, dict) and part.get("type") == "invoice.send" and part.get("payload") is not None:
        yield part["payload"]
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from payloads(each)


def test_positions_are_texts() -> None:
    """What an answer calls a position can be given as `after`."""
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for field, said in schema.get("properties", {}).items():
            if field in ("position", "head", "first_position", "last_position"):
                kinds = {part.get("type") for part in said.get("anyOf", [said])}
                assert kinds <= {"string", "null"}, f"{name}.{field}"
