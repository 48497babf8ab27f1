"""Who may import whom (architecture, section 1)."""

from __future__ import annotations

import pytest

from tests.support.layers import LAYERS, violations
from tests.support.repository import ROOT, python_files


def test_every_file_keeps_the_import_rules() -> None:
    """No file of the repository breaks a rule about imports."""
    files = list(python_files())
    assert {path.split("/")[0] for path, _ in files} >= {*LAYERS, "src", "tests"}
    assert [line for path, source in files for line in violations(path, source)] == []


def test_the_import_name_links_to_the_layers() -> None:
    """src/jobledger holds a relative link to every layer, so that a clone works wherever it lies."""
    for layer in LAYERS:
        link = ROOT / "src" / "jobledger" / layer
        assert link.readlink().as_posix() == f"../../{layer}"
        assert (link / "__init__.py").is_file()


@pytest.mark.parametrize(
    ("path", "source", "rule"),
    [
        ("tests/unit/test_x.py", "import domain.job", "bare layer name domain"),
        ("examples/x.py", "from infrastructure.cli import main", "bare layer name infrastructure"),
        ("domain/job.py", "import structlog", "domain may not import structlog"),
        ("domain/job.py", "from jobledger.application import ports", "domain may not import jobledger.application"),
        ("domain/job.py", "from ..application import ports", "domain may not import jobledger.application"),
        ("domain/job.py", "from jobledger import App", "domain may not import jobledger.App"),
        ("domain/job.py", "from jobledger.domain.retry import Retry", "inside a layer imports are relative"),
        ("application/use.py", "from ..domain.job import Job", "across layers imports are absolute"),
        ("application/use.py", "from jobledger.projections.x import X", "may not import jobledger.projections"),
        ("application/use.py", "import jobledger.infrastructure", "may not import jobledger.infrastructure"),
        ("projections/x.py", "from jobledger.application.ports import Clock", "may not import jobledger.application"),
        ("projections/x.py", "import sqlite3", "sqlite3 belongs in infrastructure/sqlite"),
        ("infrastructure/bootstrap.py", "import psycopg", "psycopg belongs in infrastructure/postgres"),
        ("infrastructure/postgres/x.py", "from eventsourcing.sqlite import X", "eventsourcing.sqlite belongs in"),
        ("infrastructure/cli/main.py", "from ..postgres import ledger", "cli imports postgres"),
        ("infrastructure/cli/main.py", "from .. import sqlite", "cli imports sqlite"),
        ("infrastructure/cli/main.py", "from fastapi import FastAPI", "fastapi belongs in"),
        ("infrastructure/client/x.py", "from jobledger.domain.errors import X", "may not import jobledger.domain"),
        (
            "infrastructure/client/x.py",
            "from ..settings import load",
            "may not import jobledger.infrastructure.settings",
        ),
        ("infrastructure/client/x.py", "import structlog", "may not import structlog"),
        ("infrastructure/api/x.py", "import httpx", "may not import httpx"),
        ("infrastructure/cli/main.py", "import os\nos.environ['X']", "only infrastructure/settings.py reads"),
        ("infrastructure/cli/main.py", "from os import getenv", "only infrastructure/settings.py reads"),
    ],
)
def test_a_forbidden_import_is_found(path: str, source: str, rule: str) -> None:
    """Each rule finds the import that breaks it, with its place."""
    (found,) = violations(path, source)
    assert found.startswith(f"{path}:")
    assert rule in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("domain/job.py", "import json\nfrom pydantic import BaseModel\nfrom .retry import Retry"),
        ("application/use.py", "import structlog\nfrom jobledger.domain.job import Job\nfrom .ports import Clock"),
        ("infrastructure/postgres/ledger.py", "import psycopg\nfrom ..mapper import Mapper\nfrom . import sql"),
        ("infrastructure/bootstrap.py", "from .postgres import ledger\nfrom .sqlite import ledger as other"),
        ("infrastructure/client/x.py", "import json\nimport httpx\nfrom ..api.jobs import Job\nfrom .core import Core"),
        ("infrastructure/settings.py", "import os\nos.environ['JOBLEDGER_DATABASE']"),
        ("tests/unit/test_x.py", "import os\nimport psycopg\nfrom jobledger.domain.job import Job\nos.environ"),
    ],
)
def test_a_proper_import_is_let_through(path: str, source: str) -> None:
    """Imports that keep the rules are not complained about."""
    assert violations(path, source) == []
