"""The statements of this engine, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..sql_blocks import load

SQL: Mapping[str, str] = load(
    "jobledger.infrastructure.postgres",
    "sql/reading.sql",
    "sql/queue.sql",
    "sql/writing.sql",
    "sql/recording.sql",
    "sql/chores.sql",
    "sql/standing.sql",
    "sql/keys.sql",
)

Parameters = tuple[object, ...]
"""What a statement takes, in the order of its placeholders."""
Row = tuple[Any, ...]
"""What a statement gives."""
