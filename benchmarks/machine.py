"""The machine and the processes on it: what they are, and what CPU time they have used."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class _ProcessTimes(NamedTuple):
    parent: int
    seconds: float
    children_seconds: float
    """Of children that ended."""


def own_cpu_seconds() -> float:
    """CPU seconds of this process so far, all its threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU seconds so far of these processes, as far as they still run."""
    return sum(times.seconds for pid in pids if (times := _times(pid)) is not None)


def tree_cpu_seconds(pid: int) -> float:
    """CPU seconds so far of a process and its children, those that ended included."""
    root = _times(pid)
    if root is None:
        return 0.0
    children = (times for entry in _pids() if (times := _times(entry)) is not None and times.parent == pid)
    return root.seconds + root.children_seconds + sum(child.seconds for child in children)


def ended_children_cpu_seconds() -> float:
    """CPU seconds of all processes that this one started and waited for, with those that they waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def tree_peaks_mb(pid: int) -> dict[int, float]:
    """The most memory (resident, 1,000,000 bytes) that a process and each of its children ever had, by process id."""
    children = [entry for entry in _pids() if (times := _times(entry)) is not None and times.parent == pid]
    peaks = {entry: _first_line(f"/proc/{entry}/status", "VmHWM") for entry in (pid, *children)}
    return {entry: int(peak.split()[0]) * 1_024 / 1e6 for entry, peak in peaks.items() if peak}


def describe() -> dict[str, str]:
    """Processor, cores, memory, system and Python."""
    return {
        "processor": _first_line("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
        "cores": str(os.cpu_count()),
        "memory": _first_line("/proc/meminfo", "MemTotal") or "unknown",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load at the start": load(),
    }


def load() -> str:
    """The load of the last 1, 5 and 15 minutes; above what a run itself needs, others used the machine."""
    return " ".join(f"{average:.2f}" for average in os.getloadavg())


def commit() -> str:
    """The short hash of the commit, with `+` where files differ from it; "unknown" outside a repository."""
    root = Path(__file__).parent.parent
    try:
        head = _git(root, "rev-parse", "--short=8", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    ran = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def _pids() -> Iterable[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())  # noqa: PTH208 - names are all we want


def _times(pid: int) -> _ProcessTimes | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None  # it ended
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    user, system, children_user, children_system = (int(field) / _TICKS_PER_SECOND for field in fields[11:15])
    return _ProcessTimes(int(fields[1]), user + system, children_user + children_system)


def _first_line(path: str, field: str) -> str | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), None)
