"""What stands around the pages of a tenant."""

from __future__ import annotations

from ..services import Visitor
from .home import SWITCH_MAX, tenants_of


def frame(visitor: Visitor, tenant: str, section: str) -> dict[str, object]:
    """The tenant, the others that the visitor may go to, and in which part of the console this is."""
    rows = tenants_of(visitor)
    shown = next((row.display_name for row in rows if row.name == tenant), "")
    return {
        "tenant": tenant, "tenant_shown": shown, "section": section,
        "tenants": rows if len(rows) <= SWITCH_MAX else (),
    }  # fmt: skip
