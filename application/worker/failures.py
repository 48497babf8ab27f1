"""Turns whatever a handler raised into what is recorded of it. Nothing an exception does can get in the way."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable
from pathlib import PurePath
from types import TracebackType

from jobledger.domain.errors import JobledgerError, NeverRetry, RetryAfter
from jobledger.domain.job import AttemptError

from ..error_policy import NO_POLICY, ErrorPolicy

Redact = Callable[[str], str]
"""Takes out of a text what must not be recorded."""

MESSAGE_CHARACTERS = 2_000
TYPE_CHARACTERS = 200
TRACEBACK_BYTES = 64_000
MAX_DELAY_SECONDS = 400 * 86_400.0
_FINGERPRINT_FRAMES = 5
_TRACEBACK_FRAMES = 60


def _as_it_is(text: str) -> str:
    return text


def failure(
    error: BaseException, policy: ErrorPolicy = NO_POLICY, redact: Redact = _as_it_is
) -> AttemptError:  # fmt: skip
    """What is recorded of an exception that a handler raised; `policy` is what the job type says about errors."""
    asked = _retry_after(error)
    final = isinstance(error, NeverRetry) or (not isinstance(error, RetryAfter) and policy.is_final(error))
    return AttemptError(
        error_type=redact(type_name(error)),
        message=message_of(error, redact),
        fingerprint=fingerprint(error),
        dlq_reason="unrecoverable" if final else None,
        retry_after_seconds=policy.delay_seconds(error) if asked is None else asked,
    )


def misfit(what: str, error: BaseException, redact: Redact = _as_it_is, *, integrity: bool) -> AttemptError:
    """A payload or result that does not fit its schema. Names fields and rules, never values."""
    told = message_of(error, redact)
    if isinstance(error, JobledgerError):
        told = f"{error.field}: {told}"
    return AttemptError(
        error_type=f"{what.capitalize()}Invalid",
        message=clean(f"the {what} does not fit the job type: {told}", MESSAGE_CHARACTERS),
        fingerprint=digest(f"{what}-invalid"),
        dlq_reason="integrity_violation" if integrity else None,
    )


def message_of(error: BaseException, redact: Redact = _as_it_is) -> str:
    """`str(error)`, whatever it takes."""
    try:
        text = str(error.message if isinstance(error, JobledgerError) else error)
    except BaseException as second:  # noqa: BLE001 - an exception's own str may raise anything
        text = f"<str() of the {type_name(error)} raised {type_name(second)}>"
    return clean(redact(text), MESSAGE_CHARACTERS)


def type_name(error: BaseException) -> str:
    """The name of an exception's class, whatever its metaclass makes of it."""
    try:
        return clean(str(type(error).__qualname__), TYPE_CHARACTERS)[:TYPE_CHARACTERS]
    except BaseException:  # noqa: BLE001 - a metaclass may raise anything
        return "Exception"


def traceback_of(error: BaseException, redact: Redact = _as_it_is) -> bytes:
    """The traceback as UTF-8; a long one keeps its innermost frames and its end."""
    try:
        lines = traceback.format_exception(type(error), error, error.__traceback__, limit=-_TRACEBACK_FRAMES)
        text = "".join(lines)
    except BaseException as second:  # noqa: BLE001 - formatting calls code of the exception
        text = f"<the traceback of a {type_name(error)} could not be formatted: {type_name(second)}>"
    encoded = redact(text).encode("utf-8", "backslashreplace")
    return encoded if len(encoded) <= TRACEBACK_BYTES else b"...\n" + encoded[-TRACEBACK_BYTES:]


def fingerprint(error: BaseException) -> str:
    """Sixteen hexadecimal digits, the same for the same kind of failure: its type and its innermost frames by file
    and function. Line numbers and values stay out, so that a deploy does not make old failures new."""
    return digest("|".join([type_name(error), *_innermost(error)]))


def digest(text: str) -> str:
    """Sixteen hexadecimal digits of a text."""
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def clean(text: str, limit: int) -> str:
    """The text cut to `limit` characters, without what JSON or a text column cannot hold."""
    cut = text if len(text) <= limit else f"{text[: limit - 3]}..."
    if cut.isascii() and "\x00" not in cut:
        return cut
    return cut.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def number_of(value: object) -> float | None:
    """The number that a handler gave, or None: it may be anything, also one that no float can hold."""
    try:
        return float(value)  # type: ignore[arg-type]  # whatever it is
    except BaseException:  # noqa: BLE001 - a value's own float may raise anything
        return None


def is_number(value: object) -> bool:
    """Whether a handler gave a number, whatever its annotations say."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_text(value: object) -> bool:
    """Whether a handler gave text that can be stored."""
    return isinstance(value, str) and clean(value, len(value)) == value


def _innermost(error: BaseException) -> list[str]:
    names: list[str] = []
    try:
        trace: TracebackType | None = error.__traceback__
    except BaseException:  # noqa: BLE001 - an exception may make a property of it
        return names
    while trace is not None:
        code = trace.tb_frame.f_code
        names.append(f"{PurePath(code.co_filename).name}:{code.co_name}")
        trace = trace.tb_next
    return names[-_FINGERPRINT_FRAMES:]


def _retry_after(error: BaseException) -> float | None:
    if not isinstance(error, RetryAfter):
        return None
    seconds = number_of(error.delay_seconds)
    if seconds is None:
        return None
    # NaN compares false with everything, so it falls back to the type's own policy.
    return seconds if 0 <= seconds <= MAX_DELAY_SECONDS else MAX_DELAY_SECONDS if seconds > 0 else None
