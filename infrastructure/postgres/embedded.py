"""A PostgreSQL server of our own, for development, tests and programs that bring their database along.

Layout of an embedded directory:

    start.lock   held while somebody starts or stops the server
    users.lock   held, shared, by every process that uses it; the kernel lets go when a process dies
    cluster/     data, log, and where they fit the socket and copied programs; as root it may be a link (see below)

The server has no TCP port. Its socket is open to its own user (and root) alone, which is why it trusts who connects.

PostgreSQL refuses to run as root, so for root it runs as `nobody`. That user must be able to enter every folder above
the directory. Where it cannot, `start` says so, or, with `relocatable=True` (disposable data only: temporary folders
get cleaned), puts the cluster into a temporary folder and leaves a link.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import pwd
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from jobledger.domain.errors import LedgerUnavailable

from .binaries import Programs, copy_wheel, find_binaries, is_reachable
from .postmaster import Postmaster, discard_stale_pid_file, find_postmaster

USER = "postgres"
DATABASE = "jobledger"
_UNPRIVILEGED = "nobody"
_SOCKET_PATH_LIMIT_BYTES = 107  # sun_path, less its closing zero
_SOCKET_NAME = ".s.PGSQL.5432"
_START_SECONDS = 300  # a crash recovery may take a while
_STOP_SECONDS = 60
_POLL_SECONDS = 0.05
_ALWAYS = {"listen_addresses": "", "port": "5432", "unix_socket_permissions": "0700"}
_DEFAULTS = {"max_connections": "200", "timezone": "UTC", "log_timezone": "UTC"}


class EmbeddedPostgres:
    """One PostgreSQL cluster in a directory; several processes may use it at once.

    `start` starts the server or joins one that runs already. `stop` leaves it: the last one out stops the server,
    whoever started it. A process that is killed leaves, too; if it was the last, the server stays up until the next
    one comes, joins and leaves. A server that was itself killed is recovered by the next `start`.

    `settings` are PostgreSQL's (`{"fsync": "off"}`); they count when this object starts the server, not when it
    joins. `binaries` is the folder of `initdb`, `pg_ctl` and `postgres`; None finds them (see `find_binaries`).
    """

    def __init__(
        self,
        directory: Path,
        *,
        binaries: Path | None = None,
        settings: Mapping[str, str] | None = None,
        relocatable: bool = False,
    ) -> None:
        self.directory = directory.absolute()
        self._chosen_binaries = binaries
        self._settings = {**_DEFAULTS, **(settings or {}), **_ALWAYS}
        self._relocatable = relocatable
        self._membership: int | None = None  # file descriptor of users.lock
        self._process = os.getpid()
        self._account = pwd.getpwnam(_UNPRIVILEGED) if os.geteuid() == 0 else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def exists(self) -> bool:
        """Whether a cluster was made here, running or not."""
        return (self._data / "PG_VERSION").is_file()

    @property
    def log(self) -> Path:
        """The server's log since its last start."""
        return self._home / "log" / "server.log"

    def start(self) -> str:
        """Start the server, or join the one that runs; make cluster and database the first time.

        Returns the URL of the database `jobledger`. Calling it again is harmless, and recovers a server that died.
        Raises LedgerUnavailable, with the end of the server's log, when the server cannot be had.
        """
        self._make_directory()
        with self._start_lock():
            self._make_home()
            self._join()
            try:
                self._serve()
                self._ensure_database()
            except BaseException:
                self._leave()
                raise
            return self.dsn()

    def stop(self) -> None:
        """Leave the server; stop it when nobody else uses it. Harmless when not started."""
        if self._membership is None:
            return
        with self._start_lock():
            self._leave()
            if self._is_unused() and (server := self.postmaster()) is not None:
                self._stop_server(server)

    def destroy(self) -> None:
        """Stop the server and remove the cluster with all its data.

        Raises LedgerUnavailable when another process uses it.
        """
        if not self.directory.is_dir():
            return
        self.stop()
        with self._start_lock():
            if not self._is_unused():
                raise LedgerUnavailable(f"another process uses the PostgreSQL in {self.directory}")
            if (server := self.postmaster()) is not None:
                self._stop_server(server)
            shutil.rmtree(self._home, ignore_errors=True)
            (self.directory / "cluster").unlink(missing_ok=True)
        for name in ("users.lock", "start.lock"):
            (self.directory / name).unlink(missing_ok=True)

    def dsn(self, database: str = DATABASE) -> str:
        """The URL of a database of the running server. Raises LedgerUnavailable when it does not run."""
        server = self.postmaster()
        if server is None:
            raise LedgerUnavailable(f"no PostgreSQL runs in {self.directory}", hint=f"its log is {self.log}")
        host = quote(str(server.socket_directory), safe="")
        return f"postgresql://{USER}@/{quote(database)}?host={host}"

    def postmaster(self) -> Postmaster | None:
        """The running server's process and socket, or None."""
        return find_postmaster(self._data)

    # --- the directory ---------------------------------------------------------------------------------------------

    @property
    def _home(self) -> Path:
        return (self.directory / "cluster").resolve()

    @property
    def _data(self) -> Path:
        return self._home / "data"

    def _make_directory(self) -> None:
        try:
            self.directory.mkdir(parents=True)
        except FileExistsError:
            return  # the start lock's file tells if it is not a directory
        self.directory.chmod(0o755 if self._account else 0o700)

    def _make_home(self) -> None:
        link = self.directory / "cluster"
        if link.is_symlink() and not link.exists():
            link.unlink()  # a relocated cluster whose temporary folder was cleaned
        if link.exists():
            return
        if self._account is None or is_reachable(self.directory):
            link.mkdir(mode=0o711 if self._account else 0o700)
            link.chmod(0o711 if self._account else 0o700)  # whatever the umask is
        elif self._relocatable:
            link.symlink_to(self._temporary_folder())
        else:
            raise LedgerUnavailable(
                f"as root PostgreSQL runs as {_UNPRIVILEGED}, who cannot enter every folder above {self.directory}",
                rule="every folder above an embedded database has mode o+x",
                hint="choose another directory, such as /var/lib/jobledger, or run as another user",
            )

    def _temporary_folder(self) -> Path:
        parent = Path(tempfile.gettempdir())
        if not is_reachable(parent):
            parent = Path("/tmp")
        folder = Path(tempfile.mkdtemp(prefix="jobledger-", dir=parent))
        folder.chmod(0o711 if self._account else 0o700)
        return folder

    def _private(self, folder: Path) -> Path:
        """Make a folder that belongs to the server's user alone."""
        folder.mkdir(mode=0o700, exist_ok=True)
        if self._account is not None:
            os.chown(folder, self._account.pw_uid, self._account.pw_gid)
        return folder

    def _socket_directory(self) -> Path:
        folder = self._home / "socket"
        if len(os.fsencode(folder / _SOCKET_NAME)) <= _SOCKET_PATH_LIMIT_BYTES:
            # A killed server leaves a lock here, and takes a zombie with the same process id for its owner.
            shutil.rmtree(folder, ignore_errors=True)
            return self._private(folder)
        # Others read its place from postmaster.pid.
        return self._private(self._temporary_folder())

    # --- who uses it -----------------------------------------------------------------------------------------------

    @contextmanager
    def _start_lock(self) -> Iterator[None]:
        with (self.directory / "start.lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield  # closing the file lets go

    def _join(self) -> None:
        if self._membership is None:
            self._membership = os.open(self.directory / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._membership, fcntl.LOCK_SH)
            self._process = os.getpid()
            atexit.register(self._stop_at_exit)

    def _leave(self) -> None:
        if self._membership is not None:
            # Closed, not unlocked: a forked child that shares the descriptor still counts as a user.
            os.close(self._membership)
            self._membership = None
            atexit.unregister(self._stop_at_exit)

    def _stop_at_exit(self) -> None:
        if os.getpid() == self._process:  # a forked child must not take its parent's server away
            self.stop()

    def _is_unused(self) -> bool:
        with (self.directory / "users.lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    # --- the server ------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Have a server that takes connections: ours, or one that still recovers, or dies while we look."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._accepts():
            if time.monotonic() > deadline:
                raise LedgerUnavailable(f"PostgreSQL in {self.directory} does not answer: {self._log_tail()}")
            if self.postmaster() is None:
                self._start_server()
            else:
                time.sleep(_POLL_SECONDS)

    def _accepts(self) -> bool:
        if self.postmaster() is None:
            return False
        try:
            psycopg.connect(self.dsn("postgres"), connect_timeout=10).close()
        except (psycopg.OperationalError, LedgerUnavailable):
            return False
        return True

    def _start_server(self) -> None:
        folder = find_binaries(self._chosen_binaries)
        if self._account is not None and not is_reachable(folder):
            folder = copy_wheel(folder, self._home / "programs")
        programs = Programs(folder, self._account)
        self._private(self._home / "log")
        if not self.exists:
            self._initialise(programs)
        self._check_version(programs)
        discard_stale_pid_file(self._data)
        self._launch(programs)

    def _initialise(self, programs: Programs) -> None:
        # Made beside its place and renamed, so that an initdb cut short leaves nothing that looks whole.
        unfinished = self._home / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._private(unfinished)
        arguments = ["-D", str(unfinished), "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C"]
        if programs.major_version() >= 17:
            arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if self._settings.get("fsync") == "off":
            arguments.append("--no-sync")
        made = programs.run("initdb", *arguments)
        if made.returncode != 0:
            raise LedgerUnavailable(f"initdb failed in {unfinished}: {made.stdout.strip()[-2000:]}")
        unfinished.rename(self._data)

    def _check_version(self, programs: Programs) -> None:
        made_by = (self._data / "PG_VERSION").read_text().strip()
        found = programs.major_version()
        if made_by != str(found):
            raise LedgerUnavailable(
                f"{self.directory} was made by PostgreSQL {made_by}; the programs in {programs.folder} are {found}",
                hint=f"point JOBLEDGER_PG_BIN at the programs of PostgreSQL {made_by}",
            )

    def _launch(self, programs: Programs) -> None:
        self.log.unlink(missing_ok=True)
        settings = {**self._settings, "unix_socket_directories": str(self._socket_directory())}
        options = shlex.join(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
        wait = ("-w", "-t", str(_START_SECONDS))
        arguments = ("start", *wait, "-D", str(self._data), "-l", str(self.log), "-o", options)
        deadline = time.monotonic() + _STOP_SECONDS
        while (started := programs.run("pg_ctl", *arguments)).returncode != 0:
            tail = self._log_tail() or started.stdout[-2000:]
            # Sessions of a server that was killed take a moment to notice; anything else will not mend itself.
            if "shared memory block" not in tail or time.monotonic() > deadline:
                raise LedgerUnavailable(f"PostgreSQL did not start in {self.directory}: {tail}")
            time.sleep(_POLL_SECONDS)

    def _stop_server(self, server: Postmaster) -> None:
        server.shut_down(_STOP_SECONDS)
        if server.socket_directory.parent != self._home:
            shutil.rmtree(server.socket_directory, ignore_errors=True)

    def _ensure_database(self) -> None:
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    def _log_tail(self) -> str:
        try:
            return self.log.read_text(errors="replace").strip()[-2000:]
        except FileNotFoundError:
            return ""
