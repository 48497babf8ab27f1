"""The work queue as a view: `projections verify open_jobs` and `projections rebuild open_jobs`."""

from __future__ import annotations

from jobledger.domain.errors import InvalidInput
from jobledger.projections.open_jobs import NAME

from ..queue_rebuilding import rebuild_queue, verify_queue
from ..shapes.projections import comparison
from ..shapes.texts import duration_text
from .json_output import print_json
from .output import console
from .rebuild_output import print_comparison
from .session import Session

_KEYS = ("job_id",)


def verify(session: Session, *, as_json: bool) -> bool:
    """Compare the queue with the ledger; whether they are equal."""
    session.settings.require_sessions("verifying the work queue")
    compared = verify_queue(session.handle.queue_tables)
    if as_json:
        print_json({"projection": NAME, "purpose": "verify", "swapped": False, **comparison(_KEYS, compared)})
    else:
        print_comparison(console(), _KEYS, compared)
    return compared.is_equal


def rebuild(session: Session, *, reason: str, dry_run: bool, as_json: bool) -> None:
    """Make the queue what the ledger says; workers have to be stopped."""
    if dry_run:
        raise InvalidInput(
            f"{NAME} has no dry run: it is not made anew, only what differs is replaced", field="--dry-run",
            hint=f"jobledger projections verify {NAME}",
        )  # fmt: skip
    session.settings.require_sessions("rebuilding the work queue")
    handle = session.handle
    done = rebuild_queue(
        handle.queue_tables, handle.ports.queue, handle.dispatcher, actor=session.actor, reason=reason
    )  # fmt: skip
    if as_json:
        print_json({
            "projection": NAME, "purpose": "rebuild", "swapped": True, "reason": reason, "events": done.events,
            "seconds": round(done.seconds, 3), **comparison(_KEYS, done.before),
        })  # fmt: skip
        return
    out = console()
    out.print(f"[bold]rebuild of {NAME}: done[/]")
    out.print(f"{done.events:,} events, {done.after.rows_live:,} rows in {duration_text(done.seconds)}")
    print_comparison(out, _KEYS, done.before)
