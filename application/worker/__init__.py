"""The worker: claims jobs in batches, runs their handlers, records how each attempt ended."""

from .events import WorkerEvent, WorkerEventName, WorkerEvents
from .options import RunResult, WorkerOptions
from .worker import Worker

__all__ = ["RunResult", "Worker", "WorkerEvent", "WorkerEventName", "WorkerEvents", "WorkerOptions"]
