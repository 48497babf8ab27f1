"""A body of JSON, read at once into its model."""

from __future__ import annotations

from typing import TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.concurrency import run_in_threadpool

from jobledger.application.nul import ESCAPED_NUL, refuse_nul

from .problem_documents import ApiError

M = TypeVar("M", bound=BaseModel)

READ_AT_ONCE_BYTES = 64_000
"""A larger body is read beside the event loop."""
MISTAKES_MAX = 100
"""Where more than these are wrong they are counted: to list a million takes seconds."""


async def json_body(request: Request, model: type[M]) -> M:
    """The body. Raises what is answered with 415, 400 (no JSON) or 422 (a member breaks a rule)."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise ApiError(
            "unsupported_media_type", "the body is no JSON by its type", field="header.Content-Type",
            rule="is application/json",
        )  # fmt: skip
    body = await request.body()
    if len(body) > READ_AT_ONCE_BYTES:
        return await run_in_threadpool(_read, body, model)
    return _read(body, model)


async def without_nul(request: Request) -> None:
    """Raise the error of status 422 where a text of the body holds NUL; for routes that keep JSON as it comes."""
    body = await request.body()
    if ESCAPED_NUL in body:
        for name, value in from_json(body).items():
            refuse_nul(body, value, name)


def _read(body: bytes, model: type[M]) -> M:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        if error.error_count() > MISTAKES_MAX:
            raise ApiError(
                "invalid_input", f"{error.error_count():,} places of the body are wrong", field="body",
                rule="is as the route documents it",
            ) from None  # fmt: skip
        found = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found]) from error
