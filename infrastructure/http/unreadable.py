"""Bodies that cannot be read, in plain words: nothing of what was sent is repeated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.datastructures import Headers

from .problem_documents import ApiError

_TOO_DEEP: Final = "lists and objects are nested too deeply"
_TOO_LONG: Final = "a number has too many digits"
_HALF: Final = "a text holds half of a character"
_WORDS: Final[Mapping[str, str]] = {
    "recursion limit exceeded": _TOO_DEEP, "number out of range": _TOO_LONG, "unexpected end of hex escape": _HALF,
    "lone leading surrogate in hex escape": _HALF, "invalid unicode code point": "the body is not UTF-8",
}  # fmt: skip
"""What is said by the parser of JSON."""
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\";\s]*)", re.ASCII | re.IGNORECASE)
_UTF8: Final = {"utf-8", "utf8", "us-ascii"}


def parser_error(error: Mapping[str, Any]) -> str:
    """What is wrong with a body that a parser refused, and where."""
    told = str(error.get("ctx", {}).get("error", ""))
    what, at, place = told.partition(" at line ")
    if not what:
        return "the body is not JSON"
    return f"{_WORDS.get(what) or f'the body is not JSON: {what}'}{at}{place}"


def cause_of(error: BaseException) -> str:
    """The same, of what made FastAPI give up."""
    match error.__cause__:
        case RecursionError():
            return _TOO_DEEP
        case UnicodeDecodeError():
            return "the body is not UTF-8"
        case ValueError() as cause if "digits" in str(cause):
            return _TOO_LONG
        case _:
            return "the body is not JSON"


def encoding_error(headers: Headers) -> ApiError | None:
    """The error of status 415 for a body that is compressed, or in letters of another time; None where it is plain."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        return ApiError(
            "unsupported_media_type", "compressed bodies are not taken", field="header.Content-Encoding",
            rule="is absent",
        )  # fmt: skip
    media_type = headers.get("content-type", "")
    charset = _CHARSET.search(media_type) if ";" in media_type else None
    if charset is None or charset[1].lower() in _UTF8:
        return None
    return ApiError(
        "unsupported_media_type", "the body is not in UTF-8 by its type", field="header.Content-Type",
        rule="has no charset, or UTF-8",
    )  # fmt: skip
