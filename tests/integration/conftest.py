"""A ledger on PostgreSQL as contract tests have it, for what only PostgreSQL does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.conftest import postgres_ledger
from tests.contract.shadows_support import populate
from tests.contract.support import LedgerUnderTest
from tests.contract.views_support import ReadSide, whole_read_side

__all__ = ["postgres_ledger"]


@pytest.fixture
def read_side(postgres_ledger: LedgerUnderTest) -> Iterator[ReadSide]:
    """A ledger with jobs of two tenants, whose views are current."""
    with whole_read_side(postgres_ledger) as side:
        populate(side)
        side.own.project()
        yield side
