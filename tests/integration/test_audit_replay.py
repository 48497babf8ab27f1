"""An export of any size: the same memory, and a file that is whole or not there, whatever kills the process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobledger.application.writes import AppendEvents, TenantRow
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.postgres.connect import open_ledger as open_postgres
from jobledger.infrastructure.sqlite.connect import open_ledger as open_sqlite
from jobledger.infrastructure.sqlite.migrations import migrate
from tests.contract.support import metadata, new_job
from tests.support.cli import Cli

FEW, MANY = 4_000, 40_000
MEMORY_BYTES = 6 << 20
"""How much more a tenfold export may use: less than 180 bytes an event that is more, of 900 that each is long."""
_BATCH = 2_000

_REPLAY = """
import resource, sys
from jobledger.infrastructure.cli.main import run
code = run(["audit", "replay", *sys.argv[1:]])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
sys.exit(code)
"""


def fill(ledger: object, tenant: str, events: int) -> None:
    """A tenant with so many events: jobs, each of another persona."""
    writer = ledger.writer  # type: ignore[attr-defined]
    about = metadata(time=datetime(2026, 1, 1, tzinfo=UTC))
    created = Event(stream_id(tenant, "tenant", tenant), 1, tenant, about, TenantCreated(name=tenant))
    writer.write([AppendEvents((created,), TenantRow(tenant, TenantStatus.ACTIVE))])
    for start in range(0, events, _BATCH):
        writer.write([new_job(tenant=tenant, about=about, persona=f"p{start + n}") for n in range(_BATCH)])


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A ledger with a small tenant and a large one."""
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("ledger") / "ledger.db"
        migrate(path)
        with closing(open_sqlite(path)) as ledger:
            fill(ledger, "few", FEW)
            fill(ledger, "many", MANY)
        yield f"sqlite:///{path}"
        return
    cluster = request.getfixturevalue("postgres_cluster")
    with cluster.database(migrated=True) as dsn:
        with closing(open_postgres(dsn)) as opened:
            fill(opened, "few", FEW)
            fill(opened, "many", MANY)
        yield dsn


@pytest.fixture
def cli(tmp_path: Path, database: str) -> Cli:
    """The command line on that ledger."""
    return Cli(tmp_path, database, JOBLEDGER_ACTOR="test:auditor")


def peak_bytes(cli: Cli, tenant: str, output: str) -> int:
    """The largest memory of a process that exports a tenant."""
    ended = subprocess.run(
        [sys.executable, "-c", _REPLAY, "--tenant", tenant, "--output", output], cwd=cli.directory,
        env=dict(cli.environment()), capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    return int(ended.stdout.splitlines()[-1])


def test_memory_does_not_depend_on_how_many_events_there_are(cli: Cli) -> None:
    """Ten times as many take no more; and all of them are there."""
    few, many = peak_bytes(cli, "few", "few.jsonl"), peak_bytes(cli, "many", "many.jsonl")
    assert many - few < MEMORY_BYTES, (few, many)
    for name, events in (("few", FEW), ("many", MANY)):
        assert cli("audit", "verify", f"{name}.jsonl", "--json").json["events"] == events + 1
    lines = (cli.directory / "few.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["facts"].get("persona") for line in lines] == [None, *(f"p{n}" for n in range(FEW))]


def test_a_killed_export_leaves_no_file(cli: Cli) -> None:
    """Nor a manifest; what was written has another name, and the ledger says that it broke off."""
    begun_before = len(_exports(cli))
    with cli.running("audit", "replay", "--tenant", "many", "--output", "many.jsonl") as running:
        while not any(path.stat().st_size for path in cli.directory.glob("many.jsonl.*.partial")):
            assert running.process.poll() is None, running.wait()
        running.process.kill()
        running.wait()
    assert [path.suffix for path in cli.directory.iterdir()] == [".partial"]
    begun = _exports(cli)
    assert len(begun) == begun_before + 1 and begun[-1] not in _ended(cli)
    made = cli("audit", "replay", "--tenant", "many", "--output", "many.jsonl", "--json").json
    assert made["events"] >= MANY and made["recorded_as"].rpartition(".")[0] in _ended(cli)


def _exports(cli: Cli) -> list[str]:
    """The exports that began, by stream."""
    out = cli("audit", "replay", "--tenant", "many", "--type", "audit.export_begun").out
    return [json.loads(line)["stream_id"] for line in out.splitlines() if not _types(line)]


def _types(line: str) -> list[str]:
    """What an export was asked for: this test's own questions are exports, too."""
    return list(json.loads(line)["facts"]["query"]["types"])


def _ended(cli: Cli) -> set[str]:
    """Those that ended."""
    out = cli("audit", "replay", "--tenant", "many", "--type", "audit.exported").out
    return {json.loads(line)["stream_id"] for line in out.splitlines()}
