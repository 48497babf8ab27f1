"""SQL stands in named blocks; every block is used and every use has its block."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobledger.infrastructure.sql_blocks import parse

ENGINES = Path(__file__).parents[2] / "infrastructure"
_USE = re.compile(r'\bSQL\["([a-z0-9_]+)"\]')


def _defined(engine: str) -> set[str]:
    return {name for file in (ENGINES / engine / "sql").glob("*.sql") for name in parse(file.read_text())}


def _used(engine: str) -> set[str]:
    return {name for file in (ENGINES / engine).rglob("*.py") for name in _USE.findall(file.read_text())}


@pytest.mark.parametrize("engine", ["postgres", "sqlite"])
def test_every_block_is_used_and_every_use_exists(engine: str) -> None:
    """A name in a .sql file without a use is dead, a use without a name would fail at run time only."""
    assert _defined(engine) == _used(engine)


def test_comments_are_dropped() -> None:
    """A block is its statement: what explains it never reaches a driver."""
    blocks = parse(
        "-- the queue\n-- name: one\n-- why: 100 % sure\nSELECT 1\n  -- here too\n  + 1\n\n-- name: two\nSELECT 2"
    )
    assert blocks == {"one": "SELECT 1\n  + 1", "two": "SELECT 2"}


def test_a_name_stands_once() -> None:
    """Two blocks of one name would hide each other."""
    with pytest.raises(ValueError, match="twice"):
        parse("-- name: one\nSELECT 1\n-- name: one\nSELECT 2")
