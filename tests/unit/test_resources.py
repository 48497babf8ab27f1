"""What a process uses, as the system tells it, its children included."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from jobledger.infrastructure import resources
from jobledger.infrastructure.resources import resource_use

PAGES = 40_000_000
"""Bytes that a child holds."""


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def _burn(seconds: float) -> None:
    began = time.process_time()
    while time.process_time() - began < seconds:
        sum(range(1_000))


def _child(connection: Connection) -> None:
    _burn(0.3)
    held = bytearray(PAGES)
    held[::4096] = b"x" * len(held[::4096])
    connection.send("ready")
    connection.recv()


def test_work_of_this_process_counts() -> None:
    """Its own CPU time rises with its work; its memory is that of a Python program."""
    before = resource_use()
    _burn(0.2)
    after = resource_use()
    assert 0.2 <= after.cpu_seconds - before.cpu_seconds < 5
    assert 5_000_000 < after.rss_bytes < 5_000_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="children that run are found in /proc")
def test_a_child_counts_while_it_runs_and_its_time_after_it() -> None:
    """Its time, its memory, and once it has ended its time only: the sum never falls."""
    here, there = multiprocessing.Pipe()
    before = resource_use()
    process = multiprocessing.get_context("spawn").Process(target=_child, args=(there,))
    process.start()
    assert here.poll(30) and here.recv() == "ready"
    during = resource_use()
    assert during.cpu_seconds - before.cpu_seconds >= 0.29
    assert during.rss_bytes - before.rss_bytes >= PAGES
    here.send("end")
    process.join(20)
    after = resource_use()
    assert after.cpu_seconds >= during.cpu_seconds
    assert after.rss_bytes < during.rss_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="children that run are found in /proc")
def test_grandchildren_count() -> None:
    """A handler's program may start programs of its own."""
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    before = resource_use().rss_bytes
    child = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    try:
        _until(lambda: resource_use().rss_bytes - before > 12_000_000)  # two interpreters
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def test_without_proc_it_is_the_peak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Other systems say less, and that is no error."""
    monkeypatch.setattr(resources, "_PROC", tmp_path)
    used = resource_use()
    assert used.cpu_seconds > 0 and used.rss_bytes > 5_000_000
