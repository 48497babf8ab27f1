"""Whether the JSON Schemas of a job type can be used: for definitions that no program of ours made."""

from __future__ import annotations

from jobledger.domain.job_type import JobTypeDefinition

from .json_schema import require_usable


def require_usable_schemas(definition: JobTypeDefinition) -> None:
    """Raise `InvalidInput` for a schema that is none, or refers to anything but itself, or has patterns
    that may take long."""
    for name, schema in (("payload_schema", definition.payload_schema), ("result_schema", definition.result_schema)):
        require_usable(schema, name)
