"""`python -m tests.support.forking_server PORT`: starts `jobledger serve` again and again, without the second that
importing it takes.

It imports everything once, what a server imports late included, has no thread, and forks a server for every line on its
stdin; its answer is the server's process. The test kills that: a server with its own sockets, connections and threads.
"""

from __future__ import annotations

import gc
import os
import pkgutil
import signal
import subprocess
import sys
from importlib import import_module
from typing import Self

from jobledger.infrastructure import postgres, sqlite
from jobledger.infrastructure.cli import main


class ForkingServer:
    """The program, and the server that it started last."""

    def __init__(self, database: str, port: int) -> None:
        environment = {**os.environ, "JOBLEDGER_DATABASE": database, "JOBLEDGER_LOG_LEVEL": "error"}
        self.url = f"http://127.0.0.1:{port}"
        self._program = subprocess.Popen(
            [sys.executable, "-m", __name__, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
            text=True,
        )  # fmt: skip
        self._process: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._program.communicate()

    def start(self) -> None:
        """Start a server; it may take a moment until it listens."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write("start\n")
        self._program.stdin.flush()
        self._process = int(self._program.stdout.readline())

    def kill(self) -> None:
        """End the server as a power cut does to it."""
        if self._process is not None:
            os.kill(self._process, signal.SIGKILL)
            self._process = None


def _import_everything() -> None:
    """So that children have it; and nothing of it is looked at for garbage, or copied for that."""
    for name in ("jobledger.infrastructure.web", "jobledger.infrastructure.cli.serve", "anyio._backends._asyncio"):
        import_module(name)
    for engine in (postgres, sqlite):
        for module in pkgutil.iter_modules(engine.__path__, f"{engine.__name__}."):
            import_module(module.name)
    gc.freeze()


def _fork(port: str) -> int:
    process = os.fork()
    if process:
        return process
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)
    main.main(["serve", "--port", port, "--no-projections"])
    return 0


def _serve_requests(port: str) -> None:
    process = 0
    for _ in iter(sys.stdin.readline, ""):
        if process:
            os.waitpid(process, 0)
        process = _fork(port)
        sys.stdout.write(f"{process}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _import_everything()
    _serve_requests(sys.argv[1])
