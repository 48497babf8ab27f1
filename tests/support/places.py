"""Where tests keep what need not outlive them: in memory, where the machine has a file system there with room to spare.

A process that dies leaves its files there as it does on a disk, so nothing that a test checks depends on it. Servers
that keep what fsync promises stay on the disk.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_IN_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 4 << 30


def quick_place() -> Path:
    """A folder in memory where files may be kept; else the usual one for temporary files."""
    usual = Path(tempfile.gettempdir())
    if "TMPDIR" in os.environ or not os.access(_IN_MEMORY, os.W_OK | os.X_OK):
        return usual
    return _IN_MEMORY if shutil.disk_usage(_IN_MEMORY).free > _ROOM_BYTES else usual


def quick_place_of_programs() -> Path:
    """The same for files that may be run."""
    place = quick_place()
    return Path(tempfile.gettempdir()) if os.statvfs(place).f_flag & os.ST_NOEXEC else place


@contextmanager
def temporary_directory(place: Path | None = None) -> Iterator[Path]:
    """A short-named directory that anybody can enter: servers run as another user when the tests run as root."""
    directory = Path(tempfile.mkdtemp(prefix="jobledger-test-", dir=place))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
