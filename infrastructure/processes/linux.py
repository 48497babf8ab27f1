"""What only Linux offers: ending with one's parent, adopting orphans, and reading `/proc`.

Elsewhere none of it is done, and the end of a socket alone tells a process that its worker is gone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

IS_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_OOM_SCORE = "300"
"""Where memory runs out the kernel shall end a child, not the worker that records what became of it."""


def signal_at_parents_death(number: signal.Signals) -> None:
    """Have the kernel send a signal to this process when the thread that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, wherever they hide (a session of their own, say)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def volunteer_for_out_of_memory() -> None:
    """Be ended before the worker where memory runs out."""
    if IS_LINUX:
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")


def memory_bytes(process: int | None = None) -> tuple[int, int]:
    """(address space, resident) of a process, by default of this one; zeros where that cannot be known."""
    try:
        fields = Path(f"/proc/{process or 'self'}/statm").read_text(encoding="ascii").split()
        return int(fields[0]) * _PAGE_BYTES, int(fields[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0, 0


def resident_bytes_of_all(process: int) -> int:
    """What a process and all its descendants hold."""
    return sum(memory_bytes(member)[1] for member in (process, *descendants(process)))


def cpu_seconds(process: int) -> float:
    """CPU seconds of a process and of the children that it waited for; 0 where that cannot be known."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
        return sum(int(ticks) for ticks in stat.rpartition(")")[2].split()[11:15]) / _TICKS
    except (OSError, ValueError, IndexError):
        return 0.0


def children(process: int | None = None) -> list[int]:
    """The processes whose parent is this one (zombies included)."""
    found: list[int] = []
    with suppress(OSError, ValueError):
        for file in Path(f"/proc/{process or 'self'}/task").glob("*/children"):
            found += map(int, file.read_text(encoding="ascii").split())
    return found


def descendants(process: int) -> list[int]:
    """All processes below one."""
    found, look_at = [], [process]
    while look_at:
        below = children(look_at.pop())
        found += below
        look_at += below
    return found


def _prctl(option: int, argument: int) -> None:
    if IS_LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0)
