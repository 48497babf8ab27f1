"""The page about the HTTP API, from its OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..api_document import api_document
from .reference_text import cell, field_rows, type_text

_ABOUT = """\
The document itself is at `/v1/openapi.json` of each server; `jobledger openapi` prints it. Bodies are JSON unless it
says otherwise, times RFC 3339. Who asks is proved with `Authorization: Bearer <API key or token>`. `*` marks parameters
that are required, and fields that are always given. How to use it: [jobs over HTTP](../how-to/jobs-over-http.md)."""


def http_api_page(generated: str) -> str:
    """Every operation by tag, then the shapes of bodies, then problems."""
    document = api_document()
    lines = ["# HTTP API", "", generated, "", document["info"]["description"], "", _ABOUT, ""]
    for tag in document["tags"]:
        lines += [f"## {tag['name']}", "", tag["description"], ""]
        for title, operation in _operations(document, tag["name"]):
            lines += _operation(document, title, operation)
    lines += ["## Shapes", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += _shape(name, schema)
    return "\n".join(lines).rstrip() + "\n"


def _operations(document: dict[str, Any], tag: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield f"{method.upper()} {path}", operation


def _operation(document: dict[str, Any], title: str, operation: dict[str, Any]) -> list[str]:
    about = " ".join(operation["description"].split())
    lines = [f"### {title}", "", f"`{operation['operationId']}`: {operation['summary']}. {about}", ""]
    if parameters := operation.get("parameters"):
        lines += ["| parameter | in | what |", "|---|---|---|", *(_parameter(one) for one in parameters), ""]
    problems = [status for status in operation["responses"] if status[0] in "45"]
    for place, body in (("Body", operation.get("requestBody", {})), *operation["responses"].items()):
        if place not in problems:
            lines += _body(document, place, body)
    return [*lines, f"Problems: {', '.join(problems)}.", ""]


def _parameter(said: dict[str, Any]) -> str:
    mark = "*" if said.get("required") else ""
    return f"| `{said['name']}`{mark} | {said['in']} | {cell(said['description'])} {cell(type_text(said['schema']))} |"


def _body(document: dict[str, Any], place: str, body: dict[str, Any]) -> list[str]:
    lines = []
    for media_type, content in body.get("content", {}).items():
        schema = content.get("schema", {})
        shape = str(schema["title"]) if "properties" in schema else type_text(schema)
        link = f"[{shape}](#{shape.lower()})" if shape in document["components"]["schemas"] else shape
        lines += [f"{place}, `{media_type}`: {link}", "", *_example(document, content)]
    return lines


def _example(document: dict[str, Any], content: dict[str, Any]) -> list[str]:
    """The first one."""
    example = content.get("example")
    for shown in list(content.get("examples", {}).values())[:1]:
        name = str(shown.get("$ref", "")).rpartition("/")[2]
        example = document["components"]["examples"][name]["value"] if name else shown["value"]
    text = example.rstrip().replace("\r", "") if isinstance(example, str) else json.dumps(example, ensure_ascii=False)
    return ["```json" if not isinstance(example, str) else "```", text, "```", ""]


def _shape(name: str, schema: dict[str, Any]) -> list[str]:
    about = " ".join(str(schema.get("description", "")).split())
    lines = [f"### {name}", "", *([about, ""] if about else [])]
    if "enum" in schema:
        return [*lines, f"{type_text(schema)}.", ""]
    return [*lines, "| field | type |", "|---|---|", *field_rows(schema), ""]
