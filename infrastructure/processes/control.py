"""What a worker and its zygote say to each other."""

from __future__ import annotations

import struct
from typing import Literal, NamedTuple

from pydantic import BaseModel

from .program import Program

REQUEST = struct.Struct(">cQ")
"""What is asked for, and the number that the worker gave to the child. Forks bring the child's descriptors along."""
FORK, KILL = b"f", b"k"

CUT_OFF_CODE = 75
"""The exit code of a child that cannot say any more how its attempt ended."""


class Boot(NamedTuple):
    """The first message to a zygote."""

    program: Program
    worker_process: int


class Said(BaseModel):
    """What a zygote says. `status` is that of waitpid."""

    what: Literal["ready", "failed", "forked", "not_forked", "ended"]
    number: int = 0
    process: int = 0
    status: int | None = None
    cpu_seconds: float = 0.0
    rss_bytes: int = 0
    error: str = ""
