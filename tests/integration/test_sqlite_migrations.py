"""Migrations of a SQLite ledger: all or nothing, in order, never behind anybody's back."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from jobledger.application.ports import ClaimRequest
from jobledger.domain.errors import LedgerNotFound, LedgerUnavailable, MigrationFailed, SchemaOutdated, SchemaTooNew
from jobledger.infrastructure import mapper, queue_row
from jobledger.infrastructure.sqlite.connect import open_ledger
from jobledger.infrastructure.sqlite.migrations import Migration, migrate, shipped

from ..contract.support import metadata, new_job

LATER = Migration("9999_post_later", "CREATE TABLE later (n INTEGER NOT NULL) STRICT;\nINSERT INTO later VALUES (1);")


def _schema(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()


def test_a_new_file_gets_all_migrations(tmp_path: Path) -> None:
    """The ledger is made with the folders it needs; a second run finds nothing to do."""
    path = tmp_path / "some" / "folder" / "ledger.db"
    assert migrate(path) == [migration.name for migration in shipped()]
    assert migrate(path) == []
    open_ledger(path).close()


def test_the_schema_is_all_migrations(tmp_path: Path) -> None:
    """One by one they give the same schema as all at once."""
    migrate(tmp_path / "at-once.db")
    for count in range(1, len(shipped()) + 1):
        migrate(tmp_path / "stepwise.db", shipped()[:count])
    assert _schema(tmp_path / "stepwise.db") == _schema(tmp_path / "at-once.db")


def test_every_table_is_strict(tmp_path: Path) -> None:
    """Types are kept by the database: every table is STRICT."""
    migrate(tmp_path / "ledger.db")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        tables = connection.execute("PRAGMA table_list").fetchall()
    loose = {name for _, name, kind, _, _, strict in tables if kind == "table" and not strict}
    assert loose <= {"sqlite_schema", "sqlite_temp_schema", "sqlite_sequence"}


def test_a_failing_migration_leaves_the_schema_unchanged(tmp_path: Path) -> None:
    """What came before it in the same run is undone as well, and one line says why."""
    path = tmp_path / "ledger.db"
    migrate(path)
    before = _schema(path)
    broken = Migration("9999_post_zz_broken", "CREATE TABLE half (n INTEGER) STRICT;\nINSERT INTO nowhere VALUES (1);")
    with pytest.raises(MigrationFailed) as raised:
        migrate(path, [*shipped(), LATER, broken])
    assert "9999_post_zz_broken" in str(raised.value) and "nowhere" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert _schema(path) == before
    open_ledger(path).close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A ledger that a newer program migrated is neither opened nor migrated."""
    path = tmp_path / "ledger.db"
    migrate(path, [*shipped(), LATER])
    with pytest.raises(SchemaTooNew, match="9999_post_later"):
        open_ledger(path)
    with pytest.raises(SchemaTooNew):
        migrate(path)


def test_an_older_schema_says_what_to_run(tmp_path: Path) -> None:
    """A ledger that lacks a migration is not opened."""
    path = tmp_path / "ledger.db"
    migrate(path, shipped()[:1])
    with pytest.raises(SchemaOutdated, match="jobledger migrate"):
        open_ledger(path)


def test_an_applied_migration_never_changes(tmp_path: Path) -> None:
    """A file whose text is another than when it was applied is refused."""
    path = tmp_path / "ledger.db"
    migrate(path)
    first, *others = shipped()
    with pytest.raises(MigrationFailed, match=first.name):
        migrate(path, [first._replace(script=first.script + "\n-- a late thought"), *others])


def test_several_may_migrate_at_once(tmp_path: Path) -> None:
    """Of many that start together one applies the migrations, the others find them applied."""
    path = tmp_path / "ledger.db"
    with ThreadPoolExecutor(8) as starters:
        applied = list(starters.map(lambda _: migrate(path), range(8)))
    assert sorted(map(len, applied)) == [0] * 7 + [len(shipped())]


def test_no_ledger_is_no_ledger(tmp_path: Path) -> None:
    """Opening makes no file: it says where it looked and what to run."""
    path = tmp_path / "nothing.db"
    with pytest.raises(LedgerNotFound) as raised:
        open_ledger(path)
    assert str(path.absolute()) in str(raised.value) and "jobledger migrate" in str(raised.value)
    assert not path.exists()


def test_any_path_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Odd names, and paths relative to the working directory, are what they say."""
    monkeypatch.chdir(tmp_path)
    path = Path("odd #1 50%?mode=memory&x=ü.db")
    migrate(path)
    open_ledger(path).close()
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".db"] == [path.name]


@pytest.mark.parametrize("act", [migrate, open_ledger])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, act: object) -> None:
    """Another kind of file is neither opened nor overwritten."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but somebody's notes\n" * 100)
    assert callable(act)
    with pytest.raises(LedgerUnavailable):
        act(path)
    assert path.read_text().startswith("not a database")


def test_an_empty_database_lacks_everything(tmp_path: Path) -> None:
    """A database without our tables is not taken for a ledger."""
    path = tmp_path / "empty.db"
    path.touch()
    with pytest.raises(SchemaOutdated):
        open_ledger(path)


def test_commits_are_durable_and_readers_go_on(tmp_path: Path) -> None:
    """WAL, and every commit synced: what was acknowledged survives a power cut."""
    migrate(tmp_path / "ledger.db")
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        with ledger.database.write() as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        with ledger.database.read() as connection, pytest.raises(sqlite3.OperationalError):
            _write_nothing(connection)


def test_jobs_that_wait_while_lanes_come(tmp_path: Path) -> None:
    """Jobs that were dispatched before there were lanes are claimed as they were: one at a time of a lock key."""
    path = tmp_path / "ledger.db"
    migrate(path, [migration for migration in shipped() if migration.name < "0003"])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO tenants (tenant_id, status, updated_at) VALUES ('acme', 'active', 0)")
        for lock_key in ("k", "k", None):
            connection.execute(
                "INSERT INTO open_jobs (job_id, tenant_id, version, status, queue, job_type, priority, due_at, "
                "attempts_allowed, lock_key, spec, identity, thread, payload) "
                "VALUES (?, 'acme', 1, 'pending', 'default', 'invoice.send', 0, 0, 3, ?, ?, ?, ?, ?)",
                _columns_of_before(lock_key),
            )
    assert migrate(path) == [migration.name for migration in shipped() if migration.name >= "0003"]
    request = ClaimRequest("w1", ("default",), ("invoice.send",), 10, "v1", 30.0, metadata().time)
    with closing(open_ledger(path)) as ledger:
        jobs = ledger.queue.claim(request).jobs
        assert sorted(str(job.state.lock_key) for job in jobs) == ["None", "k"]
        assert ledger.queue.claim(request).jobs == ()


def _columns_of_before(lock_key: str | None) -> tuple[bytes | str | None, ...]:
    new = new_job(lock_key=lock_key)
    spec, thread = queue_row.encode_spec(new.state), queue_row.encode_thread(new.event.metadata)
    identity = queue_row.encode_identity(new.state.job_type, new.state.queue, None)
    return (new.event.originator_id.bytes, lock_key, spec, identity, thread, mapper.encode_body(b"{}"))


def _write_nothing(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM ledger")
