"""What every route's documentation has in common: the problems that it may answer with."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI

from ..api.problems import MEDIA_TYPE, Problem

_DESCRIPTIONS: Final[dict[int, str]] = {
    400: "The body cannot be read.", 401: "Nothing proves who asks.", 403: "Who asks may not do that.",
    404: "There is no such thing, or it is another tenant's.", 405: "Not with this method.",
    406: "Not in a format that is accepted.",
    409: "As things stand that cannot be done.", 412: "The job has another version by now.",
    413: "The body is too large.", 415: "The body is of another type.", 422: "A value breaks a rule.",
    428: "If-Match is needed.", 429: "Too many requests.", 500: "Something went wrong here.",
    503: "The ledger does not answer, or has too much to do; try again.", 504: "Not visible yet; ask again.",
}  # fmt: skip

ALWAYS = (400, 401, 403, 404, 413, 422, 429, 500, 503)


def problems(*more: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: those that any request may get, and `more`."""
    return {
        status: {
            "description": _DESCRIPTIONS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}},
            **({"headers": {"Retry-After": {"schema": {"type": "integer"}}}} if status in (429, 503) else {}),
        }
        for status in sorted({*ALWAYS, *more})
    }  # fmt: skip


class DocumentedApi(FastAPI):
    """An application whose document has the schema of problems: as a response's model it would be documented as plain
    JSON."""

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if not self.openapi_schema:
            schemas = super().openapi().setdefault("components", {}).setdefault("schemas", {})
            schemas[Problem.__name__] = Problem.model_json_schema()
        return super().openapi()
