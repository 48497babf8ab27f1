"""The benchmarks run: in a tiny configuration, so that they cannot rot. Nothing here looks at how fast anything was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.listing import DLQ_FILTERS, FILTERS
from benchmarks.rebuilding import PHASES
from jobledger.projections.catalogue import PROJECTIONS

from ..support.places import quick_place_of_programs
from ..support.repository import ROOT

pytestmark = pytest.mark.timeout(600)

_RUN = {
    "raw-100": {("raw-enqueue", "raw"), ("raw-consume", "raw")},
    "postgres-dispatch-bulk-keys": {("dispatch-bulk-keys", "postgres")},
    "postgres-pickup-in-process": {("pickup-in-process", "postgres")},
    "postgres-drain-million": {("drain-million", "postgres")},
    "postgres-list-pages": {
        *((f"list-pages-{of}-{where}", "postgres") for of in ("tenant", "persona") for where in FILTERS),
        *((f"list-pages-dlq-{where}", "postgres") for where in DLQ_FILTERS),
    },
    "postgres-each-projection": {(f"project-{name.replace('_', '-')}", "postgres") for name in PROJECTIONS},
    "postgres-http": {
        (f"http-{what}-{connections}", "postgres") for what in ("nothing", "dispatch") for connections in (1, 32)
    },
    "postgres-history": {(f"history-{what}", "postgres") for what in ("page", "page-largest", "shown")},
    "postgres-rebuild": {
        (f"rebuild-{processes}{phase}", "postgres")
        for processes in (1, 2)
        for phase in ("", *(f"-{name.replace(' ', '-')}" for name in PHASES))
    },
    "postgres-beside-rebuild": {
        (f"drain-{beside}-rebuild", "postgres") for beside in ("without", "beside-unthrottled", "beside-throttled")
    },
    "postgres-swap-readers": {("swap-readers", "postgres"), ("swap-readers-at-swap", "postgres")},
    "postgres-fairness-noop": {("minority-idle-noop", "postgres"), ("minority-busy-noop", "postgres")},
    "sqlite-dispatch-32": {("dispatch-32-threads", "sqlite")},
    "sqlite-drain-2": {("drain-2-workers", "sqlite")},
    "sqlite-pickup": {("pickup", "sqlite"), ("pickup-in-process", "sqlite")},
    "sqlite-read-your-writes": {("read-your-writes", "sqlite"), ("read-your-writes-in-process", "sqlite")},
    "sqlite-project": {("project-one", "sqlite"), ("project-all", "sqlite")},
}
"""Each kind of scenario on one of the engines, and what it measures."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a tiny run wrote."""
    directory = tmp_path_factory.mktemp("results")
    tiny = [
        "--jobs", "50", "--quick", "--with-million", "--finished", "500", "--events", "600",
        "--results", str(directory), "--place", str(quick_place_of_programs()),
    ]  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks", *tiny, *(f"--only={name}" for name in _RUN)],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "JOBLEDGER_TENANT": "ignored"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return directory


def test_every_kind_of_scenario_is_measured(results: Path) -> None:
    """The JSON holds what was asked for, says of each target what is known, and that everything was durable."""
    (file,) = results.glob("*.json")
    document = json.loads(file.read_text())
    measured = {(figure["scenario"], figure["engine"]) for figure in document["medians"]}
    assert measured == set().union(*_RUN.values())
    assert {target["reached"] for target in document["targets"]} <= {True, False, None}
    assert document["settings"]["postgresql fsync"] == "on"
    assert document["settings"]["postgresql synchronous_commit"] == "on"


def test_the_page_shows_targets_and_figures(results: Path) -> None:
    """A person reads the same in latest.md."""
    page = (results / "latest.md").read_text()
    assert "| drain-million | postgres |" in page
    assert "single dispatches, 32 threads, times one thread" in page
