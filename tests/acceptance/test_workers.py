"""`jobledger workers`: what people see of the processes that work for them."""

from __future__ import annotations

import os
import re
import signal
import socket

from tests.acceptance.test_processes import slow_job
from tests.support.cli import Cli
from tests.support.waiting import until


def test_nobody_works(cli: Cli) -> None:
    """What ended properly is not listed, and the next step is named."""
    assert cli("workers", "--json").json == {"workers": [], "lost": 0}
    assert "jobledger work --app" in cli("workers").out


def test_a_worker_is_seen_at_its_work(cli: Cli) -> None:
    """Who, where, on what code and queues, how many slots, and what runs in them."""
    with cli.running("work", "--concurrency", "3") as worker:
        _, started, release = slow_job(cli)
        until(started.exists)
        until(lambda: cli("workers", "--json").json["workers"][0]["running_by_type"] == {"sample.slow": 1})
        (seen,) = cli("workers", "--json").json["workers"]
        assert (seen["host"], seen["pid"], seen["app"]) == (socket.gethostname(), worker.process.pid, "sample")
        assert (seen["slots"], seen["slots_used"], seen["held"], seen["lost"]) == (3, 1, 1, False)
        assert (seen["code_version"], seen["slots_quarantined"]) == ("sample-1", 0)
        assert seen["cpu_seconds"] > 0 and seen["rss_bytes"] > 10_000_000
        assert seen["seconds_since_seen"] < seen["lease_seconds"]
        shown = cli("workers").out
        for words in (seen["worker"], "sample sample-1", "1/3", "1 sample.slow", str(worker.process.pid)):
            assert words in shown, words
        release.touch()
        assert worker.stop().code == 0
    assert cli("workers", "--all", "--json").json["workers"] == []


def test_a_lost_worker_is_marked(cli: Cli) -> None:
    """Killed, it is missed once its lease ran out: not among those who work, but counted, and shown when asked for."""
    quick = cli.with_variables(JOBLEDGER_LEASE_SECONDS="1", JOBLEDGER_LEASE_RENEW_BUFFER_SECONDS="0.5")
    with quick.running("work") as worker:
        until(lambda: bool(cli("workers", "--json").json["workers"]))
        os.kill(worker.process.pid, signal.SIGKILL)
        until(lambda: cli("workers", "--json").json["lost"] == 1)
    assert cli("workers", "--json").json["workers"] == []
    assert "1 lost, not shown: jobledger workers --all" in cli("workers").out
    (lost,) = cli("workers", "--all", "--json").json["workers"]
    assert (lost["lost"], lost["pid"]) == (True, worker.process.pid)
    assert re.search(r"lost \d+ s", cli("workers", "--all").out)
