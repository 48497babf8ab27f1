"""What this process and its children use, as the operating system tells it: /proc on Linux, else what there is."""

from __future__ import annotations

import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

from jobledger.application.worker.self_report import ResourceUse

_PROC = Path("/proc")
_CHILDREN_MAX = 4_096
"""Processes that one look takes into account."""


def resource_use() -> ResourceUse:
    """CPU seconds of this process and all its descendants, and the memory that they hold now.

    Memory that several of them share (after a fork) counts in each. Where there is no /proc, memory is this process's
    peak, and time is that of this process and of children that have ended.
    """
    # of children that ended, the kernel adds the time to their parent's, once that has waited for them
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = time.process_time() + ended.ru_utime + ended.ru_stime
    rss_bytes = _rss_bytes("self")
    if rss_bytes is None:
        return ResourceUse(cpu_seconds, _peak_bytes())
    for child in _descendants():
        cpu_seconds += _cpu_seconds(child)
        rss_bytes += _rss_bytes(str(child)) or 0
    return ResourceUse(cpu_seconds, rss_bytes)


def _descendants() -> list[int]:
    found: list[int] = []
    left = _children("self")
    while left and len(found) < _CHILDREN_MAX:
        child = left.pop()
        found.append(child)
        left += _children(str(child))
    return found


def _children(process: str) -> list[int]:
    """Processes that any thread of this one started; none where it is gone."""
    children: list[int] = []
    with suppress(OSError):
        for thread in (_PROC / process / "task").iterdir():
            with suppress(OSError):  # that thread ended
                children += map(int, (thread / "children").read_text().split())
    return children


def _cpu_seconds(process: int) -> float:
    """User and system time of a process and of its own children that ended; 0 where it is gone."""
    with suppress(OSError, ValueError):
        # the name of the program, in parentheses, may hold anything; what follows does not
        fields = (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _rss_bytes(process: str) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        return int((_PROC / process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
