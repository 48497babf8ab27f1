"""What a test asks of a process that it did not start itself."""

from __future__ import annotations

from pathlib import Path


def is_gone(process: int) -> bool:
    """Whether there is no such process, or nothing but its entry."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
