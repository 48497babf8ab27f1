"""The page about testing, run as its readers would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "test-your-jobs.md"
_BLOCK = re.compile(r"^```(?P<kind>python fails|python|text)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class Page(NamedTuple):
    """The files of the page, the tests that fail there, and what they show."""

    files: dict[str, str]
    failing: str
    shown: str


def read(text: str) -> Page:
    """A block of Python begins a file or goes on with the one before."""
    files: dict[str, str] = {}
    failing = shown = name = ""
    for block in _BLOCK.finditer(text):
        if block["kind"] == "text":
            shown += block["text"]
        elif block["kind"] == "python fails":
            failing += block["text"]
        else:
            first, _, _ = block["text"].partition("\n")
            name = first.removeprefix("# file: ") if first.startswith("# file: ") else name
            files[name] = files.get(name, "") + block["text"]
    return Page(files, failing, shown)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest in a folder of the reader's own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def page() -> Page:
    """What the page says."""
    return read(PAGE.read_text(encoding="utf-8"))


def write(folder: Path, page: Page) -> None:
    """The page's files, and its failing tests in one of their own."""
    for name, text in page.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    setup = page.files["test_billing.py"].partition("\ndef test_")[0]
    (folder / "failing.py").write_text(f"{setup}\n{page.failing}", encoding="utf-8")


def test_every_test_of_the_page_passes(page: Page, tmp_path: Path) -> None:
    """As it is written, in a folder with nothing else."""
    write(tmp_path, page)
    ran = run(tmp_path, "test_billing.py")
    tests = page.files["test_billing.py"].count("\ndef test_")
    assert tests >= 8
    assert f"{tests} passed" in ran.stdout, ran.stdout + ran.stderr


def test_the_failure_that_the_page_shows_is_what_comes(page: Page, tmp_path: Path) -> None:
    """Line by line."""
    write(tmp_path, page)
    ran = run(tmp_path, "failing.py")
    assert ran.returncode == 1
    printed = [line.removeprefix("E").strip() for line in ran.stdout.splitlines()]
    missing = [line for line in page.shown.splitlines() if line.strip() not in printed]
    assert missing == [], ran.stdout
