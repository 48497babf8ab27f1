"""The logger of the application. A library stays quiet until its program configures structlog."""

from __future__ import annotations

import logging
from typing import cast

import structlog
from structlog.typing import FilteringBoundLogger

_NAME = "jobledger"

_QUIET = cast(
    "FilteringBoundLogger",
    structlog.wrap_logger(
        logging.getLogger(_NAME),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    ).bind(),
)
"""Warnings and errors to the standard library's logging; structlog's own default would print all to stdout."""


def logger() -> FilteringBoundLogger:
    """The logger as it is configured now: programs may configure structlog after they imported us."""
    if not structlog.is_configured():
        return _QUIET
    return cast("FilteringBoundLogger", structlog.get_logger(_NAME).bind())
