"""The pages about transactions and secrets, run as their readers would run them."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import psycopg
import pytest

from jobledger import App, JobStatus, Ledger
from tests.support.repository import ROOT

_BLOCK = re.compile(r"^```(?P<kind>python|json)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, kind: str) -> str:
    """The blocks of a page, one after the other."""
    text = (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    return "\n\n".join(block["text"] for block in _BLOCK.finditer(text) if block["kind"] == kind)


def app_of(page: str, folder: Path) -> App:
    """The app that a page declares."""
    file = folder / f"{Path(page).stem}_page.py"
    file.write_text(blocks(page, "python"), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app: App = module.app
    return app


def test_transactions_work_as_written(postgres_dsn: str, tmp_path: Path) -> None:
    """Both jobs of the page book their payment; the one that fails to book says so and leaves nothing."""
    app = app_of("transactions.md", tmp_path)
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("CREATE TABLE payments (payment integer PRIMARY KEY, cents integer CHECK (cents > 0))")
    with Ledger.open(postgres_dsn, app=app) as ledger:
        ledger.tenants.create("acme", reason="a customer")
        booked = ledger.dispatch("payment.book", {"payment": 1, "cents": 5}, tenant="acme").job_id
        collected = ledger.dispatch("payment.collect", {"payment": 2, "cents": 7}, tenant="acme").job_id
        refused = ledger.dispatch("payment.book", {"payment": 3, "cents": 0}, tenant="acme").job_id
        ledger.worker(app, drain=True).run()
        jobs = {job_id: ledger.jobs.get(job_id, tenant="acme") for job_id in (booked, collected, refused)}
        assert [job.status for job in jobs.values()] == [JobStatus.COMPLETED, JobStatus.COMPLETED, JobStatus.DELAYED]
        assert [event.topic for event in ledger.jobs.history(collected, tenant="acme").events] == [
            "job.dispatched", "job.started", "job.step_recorded", "job.completed"
        ]  # fmt: skip
    with psycopg.connect(postgres_dsn) as connection:
        assert connection.execute("SELECT * FROM payments ORDER BY 1").fetchall() == [(1, 5), (2, 7)]


@pytest.mark.parametrize("tenant", ["acme", "globex"])
def test_secrets_work_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tenant: str) -> None:
    """The page's vault serves the page's handler."""
    app = app_of("secrets.md", tmp_path)
    vault = tmp_path / "secrets.json"
    vault.write_text(blocks("secrets.md", "json"), encoding="utf-8")
    vault.chmod(0o600)
    secrets = json.loads(vault.read_text(encoding="utf-8"))
    monkeypatch.setenv("JOBLEDGER_SECRETS_FILE", str(vault))
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db", app=app, create=True) as ledger:
        ledger.tenants.create(tenant, reason="a customer")
        payload = {"letter": "Dear ...", "account": {"$secret": "printer"}}
        job_id = ledger.dispatch("letter.send", payload, tenant=tenant).job_id
        ledger.worker(app, drain=True).run()
        events = ledger.jobs.history(job_id, tenant=tenant, bodies=True).events
    assert events[-1].body == str(len(secrets["printer"][tenant]) + len(secrets["smtp"])).encode()
