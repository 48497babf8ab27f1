"""The tutorial, followed to the letter in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.page_reader import Reader, Step, follow
from tests.support.repository import ROOT


def test_the_tutorial_works_as_written(tmp_path: Path) -> None:
    """Every file of the tutorial is written, every command run, and what it shows is what comes."""
    assert follow(ROOT / "docs" / "tutorial.md", tmp_path, starts_the_program=True) >= 12


def test_a_reader_notices_other_output(tmp_path: Path) -> None:
    """A command that shows something else than the page says fails the tutorial."""
    reader = Reader(tmp_path, starts_the_program=True)
    with pytest.raises(AssertionError, match="shows"):
        reader.follow(Step("jobledger version", ("jobledger is ... years old",), 0))
