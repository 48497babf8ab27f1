"""Stands between a program and PostgreSQL's Unix socket, and cuts the connection at the worst moment."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Literal

from psycopg.conninfo import conninfo_to_dict, make_conninfo

SOCKET = ".s.PGSQL.5432"
Moment = Literal["before the question", "before the answer"]


class CuttingProxy:
    """Passes bytes on in both directions. `cut` arms it: the next bytes that go the given way get lost, and with them
    the connection; all later connections pass again. A context manager."""

    def __init__(self, dsn: str, directory: Path) -> None:
        self._upstream = f"{conninfo_to_dict(dsn)['host']}/{SOCKET}"
        self.dsn = make_conninfo(dsn, host=str(directory))
        self._armed: Moment | None = None
        self._passing = 0
        self.was_cut = Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / SOCKET))
        self._listener.listen()

    def __enter__(self) -> CuttingProxy:
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def cut(self, moment: Moment, *, after: int = 0) -> None:
        """Lose the next question of the client, or the next answer of the server, after so many that pass."""
        self._passing = after
        self._armed = moment

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._upstream)
                Thread(target=self._pass, args=(client, server, "before the question"), daemon=True).start()
                Thread(target=self._pass, args=(server, client, "before the answer"), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, moment: Moment) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if self._armed == moment and self._passing:
                    self._passing -= 1
                elif self._armed == moment:
                    self._armed = None
                    self.was_cut.set()
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
