"""Moments that people and programs may ask for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, Field

MOMENT_MIN, MOMENT_MAX = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)

Moment = Annotated[AwareDatetime, Field(ge=MOMENT_MIN, le=MOMENT_MAX)]
"""An aware time that is one in every zone: at the ends of the calendar, 9999-12-31T23:59-12:00 is none in UTC."""
