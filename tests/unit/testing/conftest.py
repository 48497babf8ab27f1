"""A shop, its world and its ledger for each test."""

from __future__ import annotations

import pytest

from jobledger import App
from jobledger.testing import InMemoryLedger

from .shop import World, make_app


@pytest.fixture
def world() -> World:
    """Empty."""
    return World()


@pytest.fixture
def app(world: World) -> App:
    """The shop."""
    return make_app(world)


@pytest.fixture
def ledger(app: App) -> InMemoryLedger:
    """What the documentation tells users to write: one line."""
    return InMemoryLedger(app, tenants=("acme", "other"))
