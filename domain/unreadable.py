"""Why something stored cannot be read, without a word of what is stored: for messages that reach logs and screens."""

from __future__ import annotations

import json
import re

from pydantic import ValidationError

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}")
_PATHS_SHOWN = 8


def why_unreadable(error: Exception) -> str:
    """The fields and the rules that they break; of errors that are not pydantic's no more than what is known to hold
    no value."""
    if isinstance(error, ValidationError):
        found = error.errors(include_url=False, include_input=False, include_context=False)
        broken = [f"{_path(item['loc'])} breaks {item['type']}" for item in found]
        return "; ".join(broken[:_PATHS_SHOWN]) + (f"; {len(broken)} in all" if len(broken) > _PATHS_SHOWN else "")
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON: {error.msg} (character {error.pos})"
    if isinstance(error, KeyError):
        return "a member is missing"
    return f"not in the form that is stored ({type(error).__name__})"


def said_by(error: Exception) -> str:
    """What an error says; pydantic's would show the input."""
    return why_unreadable(error) if isinstance(error, ValidationError) else str(error)


def _path(location: tuple[int | str, ...]) -> str:
    """Keys of stored mappings stand in it as well: what is no field's name is left out."""
    parts = [str(part) if isinstance(part, int) or _NAME.fullmatch(part) else "(a key)" for part in location]
    return ".".join(parts) or "it"
