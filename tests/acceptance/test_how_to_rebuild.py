"""The page on rebuilding views, followed to the letter in an empty folder."""

from __future__ import annotations

from pathlib import Path

from tests.support.page_reader import follow
from tests.support.repository import ROOT


def test_the_page_works_as_written(tmp_path: Path) -> None:
    """Every file of the page is written, every command run, and what it shows is what comes."""
    assert follow(ROOT / "docs" / "how-to" / "rebuild-a-view.md", tmp_path) >= 15
