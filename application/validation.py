"""Turns pydantic's errors into refusals that name the field and the rule, and never a value."""

from __future__ import annotations

from pydantic import ValidationError

from jobledger.domain.errors import InvalidInput

from .rules import plain_rule

_PATH_PARTS = 12
"""Of a path into what is nested deeply, this much is shown."""


def invalid_input(error: ValidationError, *, within: str = "", drop: tuple[str, ...] = ()) -> InvalidInput:
    """The refusal that says what pydantic found: path of the first field, its rule, and the paths of the others.

    `within` goes in front of the path (`payload`), path elements in `drop` are left out (wrappers of ours).
    """
    found = error.errors(include_url=False, include_input=False)
    paths = [_path(within, item["loc"], drop) for item in found]
    message = found[0]["msg"]
    if len(paths) > 1:
        message = f"{message}; also wrong: {', '.join(dict.fromkeys(paths[1:9]))}"
    return InvalidInput(message, field=paths[0], rule=plain_rule(found[0]))


def _path(within: str, location: tuple[int | str, ...], drop: tuple[str, ...]) -> str:
    parts = [str(part) for part in location if part not in drop] or [str(part) for part in location]
    if len(parts) > _PATH_PARTS:
        parts = [*parts[:_PATH_PARTS], "..."]
    return ".".join([within, *parts] if within else parts) or "input"
