"""Many jobs in one request, as JSON Lines: what is answered, a line for each."""

from __future__ import annotations

from pydantic import ConfigDict

from .jobs import Answer, JobId
from .problems import Problem

MEDIA_TYPE = "application/jsonl"
MEDIA_TYPES = (MEDIA_TYPE, "application/x-ndjson")
"""Those that are taken."""

_JOB = "0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f"


class BulkAccepted(Answer):
    """A line whose job is durable. `duplicate`: the key was used before, and this is the first job."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"line": 1, "job_id": _JOB, "duplicate": False, "position": "5f0c.8192"}]}
    )

    line: int
    job_id: JobId
    duplicate: bool
    position: str | None


class BulkRefused(Answer):
    """A line that was refused."""

    line: int
    problem: Problem


class Counts(Answer):
    """What became of all lines: those that were accepted (duplicates among them) and refused, and the last position.
    With `problem`, it broke off there: of what was sent after the lines that were answered nothing is known."""

    accepted: int
    duplicates: int
    refused: int
    position: str | None
    problem: Problem | None = None


class BulkSummary(Answer):
    """The last line. Without it, the answer is not whole."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"summary": {"accepted": 2, "duplicates": 1, "refused": 0, "position": "5f0c.8192"}}]
        }
    )

    summary: Counts
