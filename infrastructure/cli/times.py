"""Times on the command line: aware, or refused."""

from __future__ import annotations

from datetime import UTC, datetime

from jobledger.domain.errors import InvalidInput


def parse_time(text: str | None, field: str) -> datetime | None:
    """An ISO 8601 time with its zone, in UTC; InvalidInput for another form or a time without a zone."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(
            f"{text[:60]!r} is not a time", field=field, rule="ISO 8601 with a zone", hint=_EXAMPLE
        ) from error
    if moment.tzinfo is None:
        raise InvalidInput(
            f"{text!r} has no time zone", field=field, rule="times carry their zone", hint=_EXAMPLE
        )  # fmt: skip
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:  # at the ends of the calendar, another zone is beyond them
        raise InvalidInput(
            f"{text!r} is no time in UTC", field=field, rule="is a time in UTC", hint=_EXAMPLE
        ) from error


_EXAMPLE = "for example 2026-03-01T09:30:00Z or 2026-03-01T06:30:00-03:00"
