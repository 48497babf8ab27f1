"""Acts that take longer than a request: begun by one, looked at by others."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from .jobs import Answer
from .problems import Problem

_OPERATION = "ff3c0d1e-2b4a-8c6d-9e8f-0a1b2c3d4e5f.7"


class Begun(Answer):
    """An operation goes on; `Location` says where to look at it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"operation_id": _OPERATION}]})

    operation_id: str


class Progress(Answer):
    """How far it is: `done` of `total` (null: nobody knows how many there are). Of a rebuild, `done` counts events, and
    `fraction` says how much of the work of its `state` is done."""

    done: int
    total: int | None
    state: str | None
    fraction: float | None


class Operation(Answer):
    """An operation as it is. `result` where it succeeded, `problem` where it failed: `interrupted` says that it broke
    off, or that its process died; what was done until then stays done, and it can be begun again for the rest.

    `unattended` is a rebuild that this server does not work on. Another may; where none does, whoever asks for it again
    goes on with it where it stands."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "operation_id": _OPERATION, "kind": "dlq.requeue", "status": "succeeded", "actor": "key:4k2m9xq7ta",
                    "begun_at": "2026-03-01T09:30:05.250000Z", "ended_at": "2026-03-01T09:30:15.250000Z",
                    "reason": "gateway fixed", "problem": None,
                    "progress": {"done": 500, "total": 500, "state": None, "fraction": None},
                    "result": {
                        "event_id": _OPERATION, "confirmed": 500, "changed": 499, "skipped": 1, "refused": 0,
                        "troubles": [],
                    },
                }
            ]
        }
    )  # fmt: skip

    operation_id: str
    kind: str
    status: Literal["running", "unattended", "succeeded", "failed"]
    actor: str
    reason: str
    begun_at: datetime | None
    ended_at: datetime | None
    progress: Progress
    result: dict[str, Any] | None = Field(description="As the kind of the operation has it.")
    problem: Problem | None
