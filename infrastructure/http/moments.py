"""Times in an address."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from jobledger.domain.moment import Moment

from ..api.moments import no_number

When = Annotated[Moment, BeforeValidator(no_number)]
"""What a parameter that is a time takes."""
