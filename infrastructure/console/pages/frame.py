"""What stands around the pages of a tenant."""

from __future__ import annotations

from ..services import Visitor
from .home import SWITCH_MAX, tenants_of


def can_be_seen(name: str) -> bool:
    """Whether a name has anything but blanks and what has no width."""
    return any(sign.isprintable() and not sign.isspace() for sign in name)


def frame(visitor: Visitor, tenant: str, section: str) -> dict[str, object]:
    """The tenant, the others that the visitor may go to, and in which part of the console this is."""
    rows = tenants_of(visitor)
    shown = next((row.display_name for row in rows if row.name == tenant), "")
    return {
        "tenant": tenant, "tenant_shown": shown if can_be_seen(shown) else "", "section": section,
        "tenants": rows if len(rows) <= SWITCH_MAX else (),
    }  # fmt: skip
