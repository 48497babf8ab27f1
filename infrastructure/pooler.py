"""What may stand between a process and PostgreSQL, and what is said where it is in the way."""

from __future__ import annotations

from typing import Literal

from jobledger.domain.errors import InvalidSettings

Pooler = Literal["none", "transaction"]
POOLER = "JOBLEDGER_POSTGRES_POOLER"


def pooler_found(why: str) -> InvalidSettings:
    """Something between this program and PostgreSQL keeps no sessions, and the settings say nothing of it."""
    return InvalidSettings(
        f"a pooler stands before PostgreSQL: {why}", field=POOLER,
        rule="must be transaction behind a pooler in transaction mode",
        hint="workers, projections and migrations name the server itself in JOBLEDGER_DATABASE",
    )  # fmt: skip


def not_through_a_pooler(what: str) -> InvalidSettings:
    """What needs a session of its own is refused behind a pooler in transaction mode."""
    return InvalidSettings(
        f"{what} needs a session of its own, and a pooler in transaction mode has none", field=POOLER,
        rule="must be none for workers, projections, rebuilds, maintenance and migrations",
        hint=f"give it {POOLER}=none and the server itself in JOBLEDGER_DATABASE (serve: or --no-projections)",
    )  # fmt: skip
