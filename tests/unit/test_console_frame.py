"""What stands around the console's pages."""

from __future__ import annotations

import pytest

from jobledger.infrastructure.console.pages.frame import can_be_seen


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("Acme", True), ("שלום", True), ("\U0001f9be", True), ("\u202eA", True), ("", False), (" \u00a0", False),
        ("\u200b\u200d\ufeff", False), ("\u2066\u2069", False),
    ],
)  # fmt: skip
def test_a_name_that_nobody_can_see_is_none(name: str, seen: bool) -> None:
    """A tenant may be shown as anything: where that leaves nothing to see, its own name stands there."""
    assert can_be_seen(name) == seen
