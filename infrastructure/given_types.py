"""Job types of programs that have none of our code: their definitions, as they were given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from jobledger.application.schema_check import require_usable_schemas
from jobledger.application.validation import invalid_input
from jobledger.domain.errors import InvalidInput
from jobledger.domain.job_type import JobTypeDefinition


def definition_of(given: Mapping[str, Any], number: int) -> JobTypeDefinition:
    """The definition of `definitions[number]`. Raises `InvalidInput`, which names the place."""
    within = f"definitions.{number}"
    try:
        definition = JobTypeDefinition.model_validate(given)
        require_usable_schemas(definition)
    except ValidationError as error:
        raise invalid_input(error, within=within) from error
    except InvalidInput as error:
        error.field = f"{within}.{error.field}"
        raise
    return definition
