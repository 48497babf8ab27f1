"""The documentation says what there is: references are generated, and every command, setting and event appears."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import typer.main

from jobledger.domain.topics import TOPICS
from jobledger.infrastructure.cli import reference
from jobledger.infrastructure.cli.exit_codes import MEANING, ExitCode
from jobledger.infrastructure.cli.main import build
from jobledger.infrastructure.settings import Settings, variable
from tests.support.repository import ROOT

REFERENCE = ROOT / "docs" / "reference"


def commands() -> Iterator[str]:
    """`jobs list`, `up` ..."""
    for name, command in typer.main.get_command(build()).commands.items():  # type: ignore[attr-defined]
        children = getattr(command, "commands", {})
        yield from (f"{name} {child}" for child in children)
        if not children:
            yield name


@pytest.mark.parametrize("name", reference.pages())
def test_the_references_are_current(name: str) -> None:
    """What stands in docs/reference is what the code says now (run the generator after a change)."""
    text = (REFERENCE / name).read_text(encoding="utf-8")
    assert text == reference.pages()[name], "run: python -m jobledger.infrastructure.cli.reference"


def test_every_command_appears() -> None:
    """Commands are documented with their options."""
    text = (REFERENCE / "commands.md").read_text(encoding="utf-8")
    assert set(commands()) == set(re.findall(r"^## jobledger (.+)$", text, re.MULTILINE))


def test_every_setting_and_event_appears() -> None:
    """So are variables and topics."""
    settings = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    events = (REFERENCE / "events.md").read_text(encoding="utf-8")
    assert all(f"`{variable(name)}`" in settings for name in Settings.model_fields)
    assert all(f"## {topic}\n" in events for topic in TOPICS)


def test_every_option_has_a_help_text() -> None:
    """No row of the reference is empty."""
    assert not re.findall(r"^\|.*\|\s+\|$", (REFERENCE / "commands.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_exit_code_has_a_meaning() -> None:
    """The codes are an interface."""
    assert set(MEANING) == set(ExitCode)


def test_commands_in_the_documentation_exist() -> None:
    """Every `jobledger ...` line that a page tells to type is a command with these options."""
    known, found = set(commands()), set()
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for words in re.findall(r"^\s*\$? ?jobledger ((?:[a-z]+ ?)+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            first, _, second = words.strip().partition(" ")
            found.add(first if first in known else f"{first} {second.split(' ')[0]}")
    assert found <= known
