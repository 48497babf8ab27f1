"""The process of an embedded server, as its `postmaster.pid` tells it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from jobledger.domain.errors import LedgerUnavailable

_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A running server: its process id, its data directory and the folder of its socket."""

    pid: int
    data: Path
    socket_directory: Path

    def shut_down(self, timeout_seconds: float) -> None:
        """Stop the server and wait until it is gone: open transactions are rolled back, sessions ended.

        After `timeout_seconds` it is stopped without a checkpoint, and recovers at its next start.
        Raises LedgerUnavailable when even that takes as long again.
        """
        for order in (signal.SIGINT, signal.SIGQUIT):  # PostgreSQL's "fast" and "immediate"
            deadline = time.monotonic() + timeout_seconds
            _send(self.pid, order)
            while time.monotonic() < deadline:
                if not _is_running(self.pid, self.data):
                    return
                time.sleep(_POLL_SECONDS)
        raise LedgerUnavailable(f"the PostgreSQL server with process id {self.pid} does not stop")


def find_postmaster(data: Path) -> Postmaster | None:
    """The server that runs on the data directory, or None; a stale `postmaster.pid` is not a server."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    if len(lines) < 5 or not lines[4]:
        return None  # cut off while it was written
    pid = int(lines[0])
    return Postmaster(pid, data, Path(lines[4])) if _is_running(pid, data) else None


def discard_stale_pid_file(data: Path) -> None:
    """Remove a `postmaster.pid` whose process id belongs to something else by now.

    PostgreSQL sees through a dead process id by itself, but takes any living process of its user for a server; in a
    container that starts again the same low numbers come back. The file also guards against sessions that outlive
    their server, so it stays while a process works in the data directory. Call it only when no server runs.
    """
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return
    if _exists(pid) and not any(_may_work_in(int(entry.name), data) for entry in Path("/proc").glob("[0-9]*")):
        (data / "postmaster.pid").unlink(missing_ok=True)


def _is_running(pid: int, data: Path) -> bool:
    """Whether the process lives and is a server on this data directory.

    Told by its command line, which anybody may read: the working directory of another user's process is closed even
    to root in a container without CAP_SYS_PTRACE. A zombie has no command line.
    """
    if not Path("/proc/self/cmdline").exists():  # not Linux: a living process has to be evidence enough
        return _exists(pid)
    return os.fsencode(data) in _command_line(pid)


def _may_work_in(pid: int, data: Path) -> bool:
    """Whether the process works in the data directory, as every process of a server does, or might."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == data.resolve()  # it may be a link to another disk
    except PermissionError:
        return any(b"postgres" in part for part in _command_line(pid)[:1])
    except OSError:  # gone, or a zombie
        return False


def _command_line(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _send(pid: int, order: signal.Signals) -> None:
    try:
        os.kill(pid, order)
    except ProcessLookupError:
        return  # it stopped by itself
