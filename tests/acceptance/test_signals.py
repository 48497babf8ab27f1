"""Signals that reach a worker when its terminal or the reader of its log is gone."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.acceptance.test_processes import slow_job, status_of
from tests.support.cli import PROGRAM, Cli
from tests.support.waiting import until


def _worker(cli: Cli, stderr: int, before: str = "") -> subprocess.Popen[bytes]:
    """`jobledger work`, after a command of the shell."""
    return subprocess.Popen(
        ["sh", "-c", f'{before} exec "$0" work', str(PROGRAM)], cwd=cli.directory, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=stderr, env=cli.environment(),
    )  # fmt: skip


def test_a_second_signal_ends_at_once_though_nobody_reads_what_is_said(cli: Cli) -> None:
    """The pipe that stderr was is broken: what runs is given back all the same, and the exit code is that of a stop."""
    job_id, started, _release = slow_job(cli)
    read, write = os.pipe()
    worker = _worker(cli.with_variables(JOBLEDGER_SHUTDOWN_GRACE_SECONDS="3600"), write)
    os.close(write)
    try:
        until(started.exists)
        os.close(read)
        worker.send_signal(signal.SIGTERM)
        until(lambda: cli("workers", "--json").json is not None)  # (two at once may arrive as one)
        worker.send_signal(signal.SIGINT)
        assert worker.wait(30) == 0
    finally:
        worker.kill()
    assert status_of(cli, job_id) == "pending"


@pytest.mark.parametrize("ignored", [False, True], ids=["hung up", "under nohup"])
def test_a_worker_whose_terminal_is_closed_gives_back_what_it_runs(cli: Cli, ignored: bool) -> None:
    """SIGHUP is a request to stop like any other, and not a lost worker; where it is ignored (nohup), it stays so."""
    job_id, started, release = slow_job(cli)
    worker = _worker(
        cli.with_variables(JOBLEDGER_SHUTDOWN_GRACE_SECONDS="0"), subprocess.DEVNULL, "trap '' HUP;" if ignored else ""
    )  # fmt: skip
    try:
        until(started.exists)
        worker.send_signal(signal.SIGHUP)
        if ignored:
            release.touch()
            until(lambda: status_of(cli, job_id) == "completed")
            worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    finally:
        worker.kill()
    assert status_of(cli, job_id) == ("completed" if ignored else "pending")
