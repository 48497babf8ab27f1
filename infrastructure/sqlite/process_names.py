"""Processes by name, so that others see who did something, and whether he is still there to end it."""

from __future__ import annotations

import os
import socket
import sys


def process_name() -> str:
    """This process: `host:process`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def has_died(name: str) -> bool:
    """Whether the process of this name is known to have ended. Of another machine's nothing is known."""
    host, _, process = name.rpartition(":")
    if host != socket.gethostname() or sys.platform == "win32":
        return False
    try:
        os.kill(int(process), 0)  # only asks
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # somebody else's, and alive
    return False
