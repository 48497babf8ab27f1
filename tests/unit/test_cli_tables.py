"""Tables of the command line on terminals of any width."""

import pytest
from rich.text import Text

from jobledger.infrastructure.cli.output import fitting

TITLES = ("id", "type", "queue", "prio", "updated (UTC)", "error")
ROW = [Text("x" * width) for width in (8, 20, 8, 3, 19, 200)]


def shown(width: int) -> list[str]:
    return [TITLES[index] for index in fitting(TITLES, [ROW], width)]


def test_a_wide_terminal_shows_every_column() -> None:
    """Where there is room nothing is left out, however long the last column is: that one is cut."""
    assert shown(120) == list(TITLES)


@pytest.mark.parametrize(
    ("width", "left_out"), [(101, {"prio"}), (95, {"prio", "queue"}), (80, {"prio", "queue", "updated (UTC)"})]
)
def test_a_narrower_one_leaves_out_what_is_spare_in_order(width: int, left_out: set[str]) -> None:
    """Columns go one by one, in the order of their worth, until the rest fits."""
    assert set(TITLES) - set(shown(width)) == left_out


def test_what_identifies_a_job_is_always_shown() -> None:
    """No terminal is so narrow that ids, types and errors vanish."""
    assert shown(20) == ["id", "type", "error"]
