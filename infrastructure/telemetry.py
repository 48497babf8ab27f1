"""How logs are written: structlog, one JSON object a line off a terminal, for people on one.

Log events go to stderr: stdout belongs to a command's answer. What one commit has to tell is written at once: a line at
a time, each write would hand the interpreter to another thread and wait to get it back.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from io import StringIO
from typing import Any, Literal, TextIO

import structlog
from pydantic_core import PydanticSerializationError, to_json
from structlog.typing import EventDict, ExcInfo, FilteringBoundLogger, Processor, WrappedLogger

from jobledger.application.transitions import Told

from .harmless import escaped_json, harmless

LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]

_LEVELS: dict[LogLevel, int] = {
    "debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR,
}  # fmt: skip


def configure_logging(*, level: LogLevel = "info", form: LogFormat = "auto", stream: TextIO | None = None) -> None:
    """Configure structlog for this process. `form` "auto" looks whether `stream` (default: stderr) is a terminal."""
    target = sys.stderr if stream is None else stream
    pretty = form == "console" or (form == "auto" and target.isatty())
    structlog.configure(
        processors=_processors(pretty=pretty, colours=target.isatty()),
        wrapper_class=_logger_class(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=_LastingStream(target)),  # type: ignore[arg-type]  # writes
        cache_logger_on_first_use=True,
    )


class _LastingStream:
    """The stream under the log, for as long as the process lives: a job's handler may close stderr, and the next file
    that is opened then gets its number. Where nothing can be written the log is lost, and nothing else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._descriptor: int | None = None
        with suppress(OSError, ValueError):  # what has no number is written as it is
            self._descriptor = os.dup(stream.fileno())

    def write(self, text: str) -> None:
        """Write all of it."""
        with suppress(OSError, ValueError):
            if self._descriptor is None:
                self._stream.write(text)
                return
            left = memoryview(text.encode("utf-8", "backslashreplace"))
            while left:
                left = left[os.write(self._descriptor, left) :]

    def flush(self) -> None:
        """What has a number is not buffered."""
        if self._descriptor is None:
            with suppress(OSError, ValueError):
                self._stream.flush()


_LEFT_OUT = frozenset({"correlation_id", "trace_id", "actor", "authenticated", "position", "version", "stream_id"})
"""What people find with `jobledger jobs history`, and what would fill their terminal."""


def _abridge(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Ids by their last eight characters, seconds to the millisecond, nothing that says nothing."""
    brief = {name: value for name, value in event.items() if name not in _LEFT_OUT and value not in (None, "", 0.0)}
    if isinstance(brief.get("job_id"), str):
        brief["job_id"] = brief["job_id"][-8:]
    return {name: _shown(value) for name, value in brief.items()}


def _shown(value: object) -> object:
    if isinstance(value, str):
        return harmless(value)
    return round(value, 3) if isinstance(value, float) else value


def _traceback(stream: TextIO, about: ExcInfo) -> None:
    """Without local variables: those hold payloads of customers."""
    text = StringIO()
    structlog.dev.plain_traceback(text, about)
    stream.write(harmless(text.getvalue()))


def _processors(*, pretty: bool, colours: bool) -> list[Processor]:
    shared: list[Processor] = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level]
    if pretty:
        short_time = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=True)
        renderer = structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=18, exception_formatter=_traceback)
        return [*shared, short_time, _abridge, renderer]
    full_time = structlog.processors.TimeStamper(fmt="iso", utc=True)
    return [*shared, full_time, structlog.processors.format_exc_info, render_json]


def render_json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """A log event as one line of JSON."""
    return _json(event)


def _logger_class(level: int) -> type[FilteringBoundLogger]:
    """structlog's logger of a level, that can also take many events at once (`transitions.TakesMany`)."""
    return type("BatchingLogger", (structlog.make_filtering_bound_logger(level),), {"log_many": _log_many})


def _log_many(self: Any, told: Sequence[Told]) -> None:  # noqa: ANN401 - a logger; structlog types its inside so
    """Log events that passed the level, as `log` would one by one, in one write."""
    if self._processors[-1] is not render_json:
        for level, event, fields in told:
            self.log(level, event, **fields)
        return
    shared = {**self._context, **structlog.contextvars.get_contextvars()}
    timestamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    lines = [
        _json({**shared, **fields, "event": event, "level": _NAMES[level], "timestamp": timestamp})
        for level, event, fields in told
    ]
    self._logger.msg("\n".join(lines))


_NAMES = {number: name for name, number in _LEVELS.items()}


def _json(event: EventDict) -> str:
    try:
        return escaped_json(to_json(event, fallback=repr).decode())
    except (PydanticSerializationError, ValueError):  # text that is not Unicode
        return json.dumps(event, default=repr)
