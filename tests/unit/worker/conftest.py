"""A fake ledger and an app for each test."""

from __future__ import annotations

import pytest

from jobledger.application.app import App
from tests.support.fake_ledger import FakeLedger


@pytest.fixture
def ledger() -> FakeLedger:
    """An empty ledger in memory."""
    return FakeLedger()


@pytest.fixture
def app() -> App:
    """An app to declare jobs on."""
    return App("tested", code_version="1")
