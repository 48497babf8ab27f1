"""ETags and positions: an ETag is the version of a job's stream, a position says what a reader has to wait for."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Header, Response

from .problem_documents import ApiError

POSITION = "Jobledger-Position"
_TAG = re.compile(r'"([0-9]{1,18})"', re.ASCII)

IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description='The ETag that you saw, `"<version>"`, or `*` for any.', examples=['"3"']),
]


def expected_version(given: str | None, *, required: bool = False) -> int | None:
    """The version that a command is for; None for any. Raises the errors of status 428 and 422."""
    if given is None and required:
        raise ApiError(
            "precondition_required", "say which version of the job you saw", field="header.If-Match",
            rule="is given", hint='send If-Match with the ETag of the job, or "*" for any',
        )  # fmt: skip
    if given is None or given.strip() == "*":
        return None
    written = _TAG.fullmatch(given.strip())
    if written is None:
        raise ApiError("invalid_input", "that is no ETag of a job", field="header.If-Match", rule='is "<version>" or *')
    return int(written[1])


def tagged(response: Response, version: int | None, position: str | None = None) -> None:
    """Say the version and the position in the headers of an answer."""
    if version is not None:
        response.headers["ETag"] = f'"{version}"'
    if position is not None:
        response.headers[POSITION] = position
