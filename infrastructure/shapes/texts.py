"""Times, durations and messages in words, as people see them."""

from __future__ import annotations

from datetime import UTC, datetime


def first_line(text: str) -> str:
    """What a list shows of a message (PostgreSQL's have several lines); the whole stands in the job's details."""
    first, _, rest = text.strip().partition("\n")
    return f"{first.rstrip()} ..." if rest else first


def time_text(moment: datetime | None) -> str:
    """`2026-03-01 09:30:05`, in UTC; `-` for no time."""
    return "-" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def utc_text(moment: datetime | None) -> str:
    """`2026-03-01 09:30:05 UTC`, where nothing else says of which zone it is; `-` for no time."""
    return "-" if moment is None else f"{time_text(moment)} UTC"


def moment_text(moment: datetime) -> str:
    """`2026-03-01 09:30:05.250 UTC`: to the millisecond where it is not on a whole second."""
    text = time_text(moment)
    milliseconds = moment.microsecond // 1000
    return f"{text}.{milliseconds:03d} UTC" if moment.microsecond else f"{text} UTC"


def duration_text(seconds: float) -> str:
    """`0 s`, `0.4 ms`, `12.3 s`, `1 min`, `2 min 5 s`, `3 h 2 min`, `4 d 1 h`."""
    if 0 < seconds < 0.9995:  # what rounds to 1,000 ms is 1 s
        return f"{seconds * 1000:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    if seconds < 3_600:
        return _of_two(int(seconds), (60, "min"), (1, "s"))
    if seconds < 86_400:
        return _of_two(int(seconds), (3_600, "h"), (60, "min"))
    return _of_two(int(seconds), (86_400, "d"), (3_600, "h"))


def _of_two(seconds: int, large: tuple[int, str], small: tuple[int, str]) -> str:
    """In two units, of which the smaller one is left out where it says nothing."""
    rest = seconds % large[0] // small[0]
    text = f"{seconds // large[0]} {large[1]}"
    return f"{text} {rest} {small[1]}" if rest else text


def iso(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
