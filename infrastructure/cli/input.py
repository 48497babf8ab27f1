"""What commands read: payloads and JSON Lines, from an argument, a file or stdin."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from jobledger.domain.difference import pointer_to
from jobledger.domain.errors import InvalidInput

_STDIN = "-"


def read_payload(text: str) -> str:
    """A JSON object as text, from JSON, `@file` or `-`; InvalidInput says where it stops being JSON."""
    if text == _STDIN:
        content = _text(sys.stdin.buffer.read(), "stdin", "--payload")
    elif text.startswith("@"):
        content = read_file(Path(text[1:]), "--payload")
    else:
        content = text
    try:
        document = json.loads(content)
    except json.JSONDecodeError as error:
        raise InvalidInput(
            f"is not JSON: {error.msg} at line {error.lineno} column {error.colno}", field="--payload",
            rule="must be a JSON object",
            hint="--payload '{\"key\": 1}', --payload @file.json, or --payload - for stdin",
        ) from error  # fmt: skip
    except RecursionError as error:
        raise InvalidInput("is nested too deeply", field="--payload", rule="must be a JSON object") from error
    if not isinstance(document, dict):
        raise InvalidInput("is JSON but no object", field="--payload", rule="must be a JSON object")
    return content


def parse_edits(texts: Sequence[str], field: str) -> dict[str, JsonValue]:
    """New values by JSON pointer, from `path=text` and `path:=json`; a path is dotted, or a pointer itself."""
    edits: dict[str, JsonValue] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or not path.strip(":"):
            raise InvalidInput(
                f"{text[:60]!r} names no place and value", field=field, rule="path=text or path:=json",
                hint=f"{field} customer.email=a@b.example, {field} copies:=2, {field} 'tags:=[\"new\"]'",
            )  # fmt: skip
        if path.endswith(":"):
            edits[pointer(path[:-1])] = _json_value(value, path[:-1], field)
        else:
            edits[pointer(path)] = value
    return edits


def pointer(path: str) -> str:
    """A JSON pointer: a path that begins with `/` is one, any other has dots between its names and indexes."""
    return path if path.startswith("/") else pointer_to(*path.split("."))


def _json_value(text: str, path: str, field: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"the value of {path} is not JSON", field=field, rule="path:=json", hint=f"for text: {field} {path}={text}"
        ) from error
    return value


def read_lines(source: str) -> list[str]:
    """The lines of a file, or of stdin for `-`. Bytes that are not UTF-8 come as lone surrogates, so that their line
    alone is refused; only line feeds end a line, as JSON texts may hold every other separator."""
    content = sys.stdin.buffer.read() if source == _STDIN else _bytes_of(Path(source), "--jsonl")
    return content.decode("utf-8-sig", "surrogateescape").split("\n")


def read_file(path: Path, field: str) -> str:
    """The text of a file; InvalidInput where it cannot be read."""
    return _text(_bytes_of(path, field), str(path.absolute()), field)


def _bytes_of(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"cannot read {path.absolute()}: {error.strerror}", field=field, rule="must be a readable file"
        ) from error


def _text(content: bytes, where: str, field: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{where} is not UTF-8 text", field=field, rule="must be UTF-8") from error
