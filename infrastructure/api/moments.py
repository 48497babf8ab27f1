"""Times in bodies and addresses."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator
from pydantic_core import PydanticCustomError


def no_number(given: Any) -> Any:  # noqa: ANN401 - whatever was sent
    """A number is no time, also as a text: whether seconds or a version is meant, nobody knows."""
    try:
        float(given)
    except (TypeError, ValueError, OverflowError):
        return given
    raise PydanticCustomError("datetime_parsing", "a time is written as 2026-03-01T09:30:00Z")


Time = Annotated[AwareDatetime, BeforeValidator(no_number)]
"""What a field that is a time takes."""
