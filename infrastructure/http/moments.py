"""Times in an address."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from jobledger.domain.moment import Moment


def _no_number(given: object) -> object:
    """A number is no time: whether seconds or a version is meant, nobody knows."""
    if isinstance(given, str) and given.strip().lstrip("+-").replace(".", "", 1).isdigit():
        raise PydanticCustomError("datetime_parsing", "a time is written as 2026-03-01T09:30:00Z")
    return given


When = Annotated[Moment, BeforeValidator(_no_number)]
"""What a parameter that is a time takes."""
