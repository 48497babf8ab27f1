"""What psycopg raises, as our errors."""

from __future__ import annotations

import psycopg
import pytest

from jobledger.domain.errors import LedgerUnavailable
from jobledger.infrastructure.postgres.driver_errors import translate


def test_an_error_that_is_its_own_cause_is_translated() -> None:
    """`raise error from error` is legal Python: whoever looks for causes comes to an end."""
    first, second = psycopg.OperationalError("first"), psycopg.OperationalError("second")
    first.__cause__ = first
    second.__context__ = first
    assert isinstance(translate(first), LedgerUnavailable)
    assert isinstance(translate(second), LedgerUnavailable)


def test_errors_that_caused_each_other_are_translated() -> None:
    """A longer way back to the beginning ends, too."""
    first, second = psycopg.OperationalError("first"), psycopg.OperationalError("second")
    first.__cause__, second.__cause__ = second, first
    assert isinstance(translate(first), LedgerUnavailable)


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_ctrl_c_behind_an_error_is_raised_as_such(link: str) -> None:
    """What fails because Ctrl-C came in the middle of a statement is no trouble of the database."""
    error = psycopg.OperationalError("sending cancel failed")
    setattr(error, link, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as raised:
        translate(error)
    assert raised.value.__cause__ is error
