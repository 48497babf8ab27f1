"""The page about identities, followed to the letter in an empty folder."""

from __future__ import annotations

from pathlib import Path

from tests.support.page_reader import follow
from tests.support.repository import ROOT


def test_identities_work_as_written(tmp_path: Path) -> None:
    """Every command runs, and what it shows is what comes."""
    assert follow(ROOT / "docs" / "how-to" / "identities.md", tmp_path) >= 8
