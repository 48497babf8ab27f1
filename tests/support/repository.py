"""Where the repository is, for tests that read its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "domain",
    "application",
    "projections",
    "infrastructure",
    "src/jobledger",
    "tests",
    "examples",
    "benchmarks",
)


def python_files() -> Iterator[tuple[str, str]]:
    """(path from the root, source) of every Python file; the links in src/jobledger are not followed."""
    for folder in SOURCES:
        pattern = "*.py" if folder == "src/jobledger" else "**/*.py"
        for file in sorted((ROOT / folder).glob(pattern)):
            yield file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")
