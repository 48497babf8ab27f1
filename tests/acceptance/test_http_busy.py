"""A server whose ledger takes no more writes just now."""

from __future__ import annotations

import sqlite3
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

from tests.support.server import running_server
from tests.support.watched_worker import WAIT_SECONDS

from .http_server import prepare

SETTINGS = {"JOBLEDGER_GROUP_COMMIT_BUFFER_WRITES": "1", "JOBLEDGER_GROUP_COMMIT_WAIT_SECONDS": "0"}


def test_a_full_buffer_is_told_as_such(tmp_path: Path) -> None:
    """One write is held up by whoever has the ledger, one waits, and one more is 503, with when to try again; the
    others are written once they can be."""
    file = tmp_path / "ledger.db"
    body = {"type": "number.double", "payload": {"number": 1}}
    with running_server(f"sqlite:///{file}", tmp_path, settings=SETTINGS) as server, server.client() as client:
        prepare(server)
        with closing(sqlite3.connect(file, isolation_level=None)) as other, ThreadPoolExecutor(8) as threads:
            other.execute("BEGIN IMMEDIATE")
            asked = [threads.submit(client.post, "/v1/tenants/acme/jobs", json=body) for _ in range(8)]
            refused, waiting = wait(asked, WAIT_SECONDS, return_when=FIRST_COMPLETED)
            other.execute("ROLLBACK")
            answered = [one.result() for one in (*refused, *waiting)]
    assert refused and {one.status_code for one in answered} == {201, 503}
    busy = next(one for one in answered if one.status_code == 503)
    assert int(busy.headers["Retry-After"]) > 0
    assert (busy.json()["code"], busy.json()["detail"]) == (
        "ledger_busy", "the ledger is busy, and nothing was written; try again",
    )  # fmt: skip
