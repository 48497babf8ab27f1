"""A domain event as the company's reactions see it: checked, and stripped of its envelope."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple


class DomainEvent(NamedTuple):
    """An event of exactly one tenant. `data` is its payload without the tenant; `line` where it stood."""

    id: str
    source: str
    type: str
    tenant: str
    persona: str | None
    time: datetime | None
    trace_parent: str | None
    data: Mapping[str, object]
    line: int
