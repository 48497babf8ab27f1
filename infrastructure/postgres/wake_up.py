"""Hints that there may be work: within this process at once, to and from others by NOTIFY.

NOTIFY takes a lock of the whole cluster at commit, so it is never sent with an append: a thread with a connection of
its own sends the first hint at once and gathers what comes in the next moments into one more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import psycopg
import structlog

from jobledger.domain.errors import JobledgerError

from .connections import Connections, PgConnection, Role
from .statements import SQL

CHANNEL = "jobledger_ready"
AWAITED = "jobledger_awaited"
"""Where who waits for the lists tells those that keep them."""
GATHER_SECONDS = 0.02
"""The least time between two NOTIFYs of one process."""
_LISTEN_SECONDS = 0.1
"""How long the listener waits before it looks whether it is to end."""
_RETRY_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class PostgresWakeUp:
    """The `WakeUp`. Its two threads and connections exist from the first `notify` and the first `wait` on."""

    def __init__(
        self, connections: Connections, *, channel: str = CHANNEL, gather_seconds: float = GATHER_SECONDS
    ) -> None:
        self._connections = connections
        self._channel = channel
        self._gather_seconds = gather_seconds
        self._changed = threading.Condition()
        self._generation = 0
        self._seen = threading.local()
        """The generation that each waiting thread knows of: a hint between two waits is not lost."""
        self._to_send = threading.Event()
        self._closed = threading.Event()
        self._threads: dict[str, threading.Thread] = {}

    def notify(self, queues: frozenset[str]) -> None:
        """Wake who waits here, and in other processes. Who waits looks at his own queues."""
        del queues
        self._hint()
        self._to_send.set()
        self._ensure("notify", self._send)

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for a hint, from this process or another; True if one came since this thread's last wait. Behind a
        pooler nobody listens: it is for those who look again when time is out."""
        if not self._connections.pooled:
            self._ensure("listen", self._listen)
        with self._changed:
            seen = getattr(self._seen, "generation", 0)
            self._changed.wait_for(lambda: self._closed.is_set() or self._generation != seen, timeout_seconds)
            self._seen.generation = self._generation
            return self._generation != seen

    def close(self) -> None:
        """End both threads, and every wait. A hint that was not sent yet is sent first."""
        self._closed.set()
        self._to_send.set()
        with self._changed:
            self._changed.notify_all()
        for thread in list(self._threads.values()):
            thread.join()

    def _ensure(self, name: str, run: Callable[[PgConnection], None]) -> None:
        if name in self._threads or self._closed.is_set():
            return
        with self._changed:
            if name not in self._threads:
                thread = threading.Thread(target=self._keep, args=(name, run), name=f"jobledger-{name}", daemon=True)
                self._threads[name] = thread
                thread.start()

    def _hint(self) -> None:
        with self._changed:
            self._generation += 1
            self._changed.notify_all()

    def _keep(self, name: str, run: Callable[[PgConnection], None]) -> None:
        """Do it on a connection, and again on a new one when that breaks."""
        while not self._closed.is_set():
            try:
                role = self._connections.acting(Role.WORKER, Role.API, Role.PROJECTOR, Role.AUDITOR)  # any will do
                if self._connections.pooled:
                    self._send_in_transactions(role)
                    continue
                with self._connections.connect(role, application_name=f"jobledger {name}") as connection:
                    run(connection)
            except (psycopg.Error, JobledgerError) as error:
                _log.warning("wake_up.interrupted", what=name, error=str(error), retry_in_seconds=_RETRY_SECONDS)
                self._closed.wait(_RETRY_SECONDS)

    def _send(self, connection: PgConnection) -> None:
        while True:
            self._to_send.wait()
            self._to_send.clear()
            connection.execute(SQL["notify"], (self._channel, ""), prepare=True)
            if self._closed.wait(self._gather_seconds):
                return

    def _send_in_transactions(self, role: Role) -> None:
        while True:
            self._to_send.wait()
            self._to_send.clear()
            with self._connections.connection(role) as connection:
                connection.execute(SQL["notify"], (self._channel, ""))
            if self._closed.wait(self._gather_seconds):
                return

    def _listen(self, connection: PgConnection) -> None:
        connection.execute(f"LISTEN {self._channel}")
        self._hint()  # whatever came while nobody listened
        while not self._closed.is_set():
            for _ in connection.notifies(timeout=_LISTEN_SECONDS, stop_after=1):
                self._hint()
        with suppress(psycopg.Error):
            connection.execute(f"UNLISTEN {self._channel}")
