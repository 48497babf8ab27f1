"""How logs are written: structlog, one JSON object a line off a terminal, for people on one.

Log events go to stderr: stdout belongs to a command's answer.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO

import structlog
from structlog.typing import Processor

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
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=True,
    )


def _processors(*, pretty: bool, colours: bool) -> list[Processor]:
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if pretty:
        return [*shared, structlog.dev.ConsoleRenderer(colors=colours)]
    return [*shared, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
