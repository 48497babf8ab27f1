"""Which dead jobs a command means: options that filter, in their fields, in words, and as a command to run again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, get_args

import typer

from jobledger.domain.dlq import DlqFilter
from jobledger.domain.errors import InvalidInput
from jobledger.domain.job import DlqReason

from ..shapes.texts import iso, time_text
from . import lists
from .times import parse_past

Persona = Annotated[str | None, typer.Option("--persona", "-p", help="Only jobs of this persona.", show_default=False)]
Cause = Annotated[
    str | None, typer.Option("--cause", help=f"Only {', '.join(get_args(DlqReason))}.", show_default=False)
]
ErrorType = Annotated[
    str | None, typer.Option("--error-type", help="Only those that died of this error.", show_default=False)
]
Fingerprint = Annotated[
    str | None,
    typer.Option("--fingerprint", help="Only those that died in the same place (see dlq show).", show_default=False),
]
Since = Annotated[
    str | None, typer.Option("--since", help="Only those dead since this time, or for 2h, 30m, 7d.", show_default=False)
]
Until = Annotated[
    str | None, typer.Option("--until", help="Only those dead before this time, or 2h ago.", show_default=False)
]


def fields(
    *,
    now: datetime,
    job_type: str | None,
    kind: str | None,
    queue: str | None,
    persona: str | None,
    cause: str | None,
    error_type: str | None,
    fingerprint: str | None,
    since: str | None,
    until: str | None,
) -> dict[str, object]:
    """The fields of a query or command, of those options that were given."""
    given: dict[str, object] = {
        "job_type": job_type, "kind": lists.parse_kind(kind), "queue": queue, "persona": persona,
        "dlq_reason": _parse_cause(cause), "error_type": error_type, "fingerprint": fingerprint,
        "dead_from": parse_past(since, "--since", now), "dead_to": parse_past(until, "--until", now),
    }  # fmt: skip
    return {name: value for name, value in given.items() if value is not None}


def words(where: DlqFilter) -> list[str]:
    """The options that mean this, for a command that can be run again: times are moments, not ages."""
    said = {**_plain(where), "--since": iso(where.dead_from), "--until": iso(where.dead_to)}
    return [word for option, value in said.items() if value is not None for word in (option, value)] or ["--all"]


def in_words(where: DlqFilter) -> str:
    """`type invoice.send, error-type TimeoutError, dead since ...`; empty where nothing is filtered."""
    parts = [f"{option.removeprefix('--')} {value}" for option, value in _plain(where).items() if value is not None]
    if where.dead_from is not None:
        parts.append(f"dead since {time_text(where.dead_from)}")
    if where.dead_to is not None:
        parts.append(f"dead before {time_text(where.dead_to)}")
    return ", ".join(parts)


def _plain(where: DlqFilter) -> Mapping[str, str | None]:
    return {
        "--type": where.job_type, "--kind": where.kind, "--queue": where.queue, "--persona": where.persona,
        "--cause": where.reason, "--error-type": where.error_type, "--fingerprint": where.fingerprint,
    }  # fmt: skip


def _parse_cause(text: str | None) -> DlqReason | None:
    if text is None:
        return None
    for reason in get_args(DlqReason):
        if reason == text.replace("-", "_").replace(" ", "_"):
            return reason  # type: ignore[no-any-return]
    causes = ", ".join(get_args(DlqReason))
    raise InvalidInput(f"{text[:60]!r} is no cause of death", field="--cause", rule=f"one of {causes}")
