"""The example `examples/queue_usage.py` tells the story it promises, on both engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples import queue_usage


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a ledger for this test alone, on each engine."""
    if request.param == "postgres":
        dsn: str = request.getfixturevalue("postgres_dsn")
        return dsn
    return f"sqlite:///{tmp_path}/ledger.db"


def test_the_example_runs_plain_delayed_and_retried_jobs(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Listeners of worker and queue are told, every job ends as it should, and the worker closes gracefully."""
    queue_usage.run(database)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    told = [" ".join(line.split()) for line in lines]
    assert told.count("queue job.dispatched") == 4
    assert told.count("queue job.retried") == 2
    assert told.count("queue job.completed") == 3
    assert told.count("queue job.sent_to_dlq") == 1
    assert "worker errored letter.burn (attempt 1) NeverRetry: Kurt has moved to the moon" in told
    assert 'ledger letter.carry is completed after 3 attempts: "delivered the parcel for Edsger"' in told
    assert told.index("worker stopping") < told.index("worker closed")
