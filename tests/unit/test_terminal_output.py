"""Whatever jobs, callers and servers say is shown to people; nothing of it speaks to their terminal."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from rich.text import Text

from jobledger.infrastructure.cli import json_output, output
from jobledger.infrastructure.harmless import escaped_json, harmless

EVIL = "\x1b[2J\x1b]0;title\x07\x9b31m\x90q\x9c\x08\x7f\x00\u202egnp\u2066\u200f\u061c\u2028\ud800"


def is_harmless(text: str) -> bool:
    """Whether it has neither controls (but line ends) nor what turns the direction of text."""
    return not [letter for letter in text if letter != "\n" and (not letter.isprintable())]


def test_text_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """As text, in markup that was escaped, in a table: each control is one mark of replacement."""
    out = output.console()
    out.print(Text(f"reason: {EVIL}fine"))
    out.print(f"reason: {EVIL}fine", markup=False, soft_wrap=True)
    out.print(output.table("who", "why", rows=[(EVIL, f"{EVIL}fine"), ("ana", Text(EVIL))]))
    said = capsys.readouterr().out
    assert is_harmless(said) and said.count("fine") == 3 and "\ufffd" in said


def test_a_cell_is_as_wide_as_it_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A column stays aligned under text with controls."""
    output.console().print(output.table("who", "why", rows=[("\x1b\x1b\x1b\x1b", "x"), ("anna", "y")]))
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.index("x") == second.index("y")


@pytest.mark.parametrize("text", ["plain", "çà et là", "日本語", "👩‍💻", "a\tb"])
def test_other_text_stays_as_it_is(text: str) -> None:
    """Words of any language, and tabulators."""
    assert harmless(text) == text


@pytest.mark.parametrize("say", [json_output.print_json, json_output.print_error_json])
def test_json_says_the_same_and_nothing_to_a_terminal(
    say: Callable[[object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers and errors: what would speak is escaped, in names as in values, and read back as it was."""
    document = {EVIL: [EVIL, "çà et là", {"deep": f"日本語 {EVIL}"}]}
    say(document)
    said = "".join(capsys.readouterr())
    assert is_harmless(said) and "çà et là" in said and "日本語" in said
    assert json.loads(said) == document


@pytest.mark.parametrize("text", ['"plain"', '"çà et là"', '"\U0001f469\u200d\U0001f4bb"'])
def test_json_of_words_stays_as_it_is(text: str) -> None:
    """Words of any language are not escaped."""
    assert escaped_json(text) == text
