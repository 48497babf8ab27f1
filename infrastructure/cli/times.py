"""Times on the command line: aware, or refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from jobledger.domain.errors import InvalidInput


def parse_time(text: str | None, field: str) -> datetime | None:
    """An ISO 8601 time with its zone, in UTC; InvalidInput for another form or a time without a zone."""
    return _parse_time(text, field, _EXAMPLE)


def _parse_time(text: str | None, field: str, example: str) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(
            f"{text[:60]!r} is not a time", field=field, rule="ISO 8601 with a zone", hint=example
        ) from error
    if moment.tzinfo is None:
        raise InvalidInput(
            f"{text!r} has no time zone", field=field, rule="times carry their zone", hint=example
        )  # fmt: skip
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:  # at the ends of the calendar, another zone is beyond them
        raise InvalidInput(f"{text!r} is no time in UTC", field=field, rule="is a time in UTC", hint=example) from error


def parse_past(text: str | None, field: str, now: datetime) -> datetime | None:
    """A time as `parse_time` takes it, or an age: `90s`, `30m`, `2h`, `7d` before `now`."""
    age = _AGE.fullmatch(text) if text is not None else None
    if age is None:
        return _parse_time(text, field, f"{_AGES} or {_EXAMPLE.removeprefix('for example ')}")
    try:
        return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
    except OverflowError as error:
        raise InvalidInput(f"{text} ago is before all time", field=field, rule="is a time in UTC") from error


def parse_future(text: str | None, field: str, now: datetime) -> datetime | None:
    """A time as `parse_time` takes it, a date (its beginning in UTC), or a while: `90d`, `12h` from `now`."""
    if text is None:
        return None
    if _DATE.fullmatch(text):
        return _parse_time(f"{text}T00:00:00Z", field, _UNTIL)
    span = _AGE.fullmatch(text)
    if span is None:
        return _parse_time(text, field, _UNTIL)
    try:
        return now + timedelta(**{_UNITS[span[2]]: int(span[1])})
    except OverflowError as error:
        raise InvalidInput(f"{text} from now is behind all time", field=field, rule="is a time in UTC") from error


def parse_as_of(text: str | None, field: str, now: datetime) -> int | datetime | None:
    """A version of a job (digits), or a moment as `parse_past` takes it."""
    if text is not None and text.isascii() and text.isdigit() and len(text) <= _VERSION_LENGTH_MAX:
        if int(text) == 0:
            raise InvalidInput("there is no version 0", field=field, rule="versions begin with 1")
        return int(text)
    return parse_past(text, field, now)


_VERSION_LENGTH_MAX = 10
_AGES = "for example 2h, 30m, 7d"
_AGE = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_UNTIL = "for example 90d, 12h, 2026-12-31 or 2026-12-31T09:30:00Z"
_EXAMPLE = "for example 2026-03-01T09:30:00Z or 2026-03-01T06:30:00-03:00"
