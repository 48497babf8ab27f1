"""The worker: claims jobs in batches, runs their handlers, records how each attempt ended.

Its parts are loaded when they are first asked for: who only decides endings never loads what runs handlers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .events import WorkerEvent, WorkerEventName, WorkerEvents
    from .options import RunResult, WorkerOptions
    from .worker import Worker

__all__ = ["RunResult", "Worker", "WorkerEvent", "WorkerEventName", "WorkerEvents", "WorkerOptions"]

_HOME = {
    "RunResult": ".options", "Worker": ".worker", "WorkerEvent": ".events", "WorkerEventName": ".events",
    "WorkerEvents": ".events", "WorkerOptions": ".options",
}  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name], __name__), name)
