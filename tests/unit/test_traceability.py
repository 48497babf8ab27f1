"""docs/traceability.md against the requirements and the tests."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.support.repository import ROOT

# How many requirements each section has.
SECTIONS = {"R0": 4, "R1": 7, "R2": 2, "R3": 9, "R4": 14, "R5": 3}
REQUIREMENTS = [f"{section}.{number}" for section, last in SECTIONS.items() for number in range(1, last + 1)]
TEST = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")
PLANNED = re.compile(r"planned in [A-H](, [A-H])*")


def rows() -> dict[str, tuple[str, ...]]:
    """Requirement -> (in words, use case, tests)."""
    found: dict[str, tuple[str, ...]] = {}
    for line in (ROOT / "docs" / "traceability.md").read_text(encoding="utf-8").splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
        if re.fullmatch(r"R\d+\.\d+", cells[0]):
            assert cells[0] not in found, f"{cells[0]} stands there twice"
            found[cells[0]] = cells[1:]
    return found


@cache
def defined_tests(path: str) -> frozenset[str]:
    """The tests that a file defines, methods as `Class::name`; none when there is no such file."""
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    body = ast.parse(file.read_text(encoding="utf-8")).body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    methods = {f"{node.name}::{name}" for node in classes for name in function_names(node.body)}
    return frozenset(function_names(body) | methods)


def function_names(body: list[ast.stmt]) -> set[str]:
    functions = [node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name for node in functions if node.name.startswith("test_")}


def test_every_requirement_has_its_row() -> None:
    """Each requirement's number stands in the table once, in order, and no other does."""
    assert list(rows()) == REQUIREMENTS


def test_every_row_is_filled() -> None:
    """Each row has words, a use case, and tests or the issue that will bring them."""
    for requirement, cells in rows().items():
        assert len(cells) == 3, requirement
        assert all(cells), requirement
        rest = PLANNED.sub("", TEST.sub("", cells[2]))
        assert rest.strip() == "", f"{requirement}: neither a test nor a plan: {rest}"


def test_every_named_test_exists() -> None:
    """A test that the table names is defined in the file it names."""
    named = {test for cells in rows().values() for test in TEST.findall(cells[2])}
    assert named
    assert {f"{path}::{name}" for path, name in named if name not in defined_tests(path)} == set()


def test_a_missing_test_would_be_noticed() -> None:
    """The check knows this file's tests, and neither tests nor files that do not exist."""
    here = "tests/unit/test_traceability.py"
    assert "test_a_missing_test_would_be_noticed" in defined_tests(here)
    assert "test_no_such_thing" not in defined_tests(here)
    assert defined_tests("tests/unit/test_no_such_file.py") == frozenset()
