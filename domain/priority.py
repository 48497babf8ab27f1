"""Priority: an integer -100..100, default 0, higher first; ties by time due, then id (R1.1)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

LOWEST, DEFAULT, HIGHEST = -100, 0, 100

Priority = Annotated[int, Field(ge=LOWEST, le=HIGHEST, strict=True)]
