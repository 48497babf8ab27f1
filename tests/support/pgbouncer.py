"""PgBouncer in transaction mode before a test cluster: Debian's program. Tests skip where it is not installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from .places import quick_place, temporary_directory

_PLACES = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
_WITHOUT = "PgBouncer is not installed: what runs behind it is NOT tested here (Debian: apt-get install pgbouncer)"
_START_SECONDS = 30.0

_SETTINGS = """[databases]
* = host={server} port=5432

[pgbouncer]
listen_addr =
listen_port = 5432
unix_socket_dir = {directory}
unix_socket_mode = 0777
auth_type = trust
admin_users = postgres
auth_file = {directory}/users
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 200
query_wait_timeout = {wait_seconds}
server_login_retry = 1
ignore_startup_parameters = {ignored}
logfile = {directory}/log
pidfile = {directory}/pid
"""


def require_pgbouncer() -> str:
    """Where the program is; the test is skipped, with a warning, where there is none."""
    program = shutil.which("pgbouncer", path=_PLACES)
    if program is None:
        warnings.warn(_WITHOUT, stacklevel=2)
        pytest.skip(_WITHOUT)
    return program


class PgBouncer:
    """One process of PgBouncer, with so many server connections for each login and database. A context manager."""

    def __init__(
        self, dsn: str, directory: Path, *, pool_size: int, logins: tuple[str, ...], ignored: str, wait_seconds: int
    ) -> None:
        self._program = require_pgbouncer()
        self._directory = directory
        self._account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None  # it refuses to be root
        self._process: subprocess.Popen[bytes] | None = None
        parts = conninfo_to_dict(dsn)
        (directory / "users").write_text("".join(f'"{login}" ""\n' for login in {str(parts["user"]), *logins}))
        (directory / "settings").write_text(
            _SETTINGS.format(
                server=parts["host"],
                directory=directory,
                pool_size=pool_size,
                ignored=ignored,
                wait_seconds=wait_seconds,
            )
        )
        if self._account is not None:
            os.chown(directory, self._account.pw_uid, self._account.pw_gid)

    def dsn(self, direct: str, *, login: str | None = None) -> str:
        """The URL of a database through it."""
        parts = conninfo_to_dict(direct)
        host = quote(str(self._directory), safe="")
        return f"postgresql://{login or parts['user']}@/{parts['dbname']}?host={host}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        account = self._account
        self._process = subprocess.Popen(
            [self._program, "--quiet", str(self._directory / "settings")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
            user=account.pw_uid if account else None, group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, f"PgBouncer does not answer: {self.log()}"
            time.sleep(0.005)

    def kill(self) -> None:
        """End it without a farewell to anybody. Harmless when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        (self._directory / ".s.PGSQL.5432").unlink(missing_ok=True)

    def log(self) -> str:
        """What it said."""
        log = self._directory / "log"
        return log.read_text() if log.exists() else ""

    def _answers(self) -> bool:
        try:
            psycopg.connect(host=str(self._directory), user="pgbouncer", dbname="pgbouncer", connect_timeout=2).close()
        except psycopg.OperationalError as error:
            return "no such user" in str(error) or "not allowed" in str(error)
        return True


@contextmanager
def pgbouncer(
    dsn: str, *, pool_size: int = 2, logins: tuple[str, ...] = (), ignored: str = "", wait_seconds: int = 30
) -> Iterator[PgBouncer]:
    """PgBouncer in front of the server of this database, for every database of it. `ignored`: what of a session's
    settings it leaves out without a word. `wait_seconds`: how long a client waits for a server connection."""
    require_pgbouncer()
    with (
        temporary_directory(quick_place()) as directory,
        PgBouncer(
            dsn, directory, pool_size=pool_size, logins=logins, ignored=ignored, wait_seconds=wait_seconds
        ) as running,
    ):  # fmt: skip
        yield running
