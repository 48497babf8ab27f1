"""Chromium, a console for the tests of a module, and windows that must not hear complaints of a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support.console import ConsoleUnderTest, Visit, chromium, console_under_test
from tests.support.postgres import TestCluster


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for all these tests, and no others: while it is open an event loop runs in this thread, where those
    want their own."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def console(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleUnderTest]:
    """A console on SQLite."""
    folder = tmp_path_factory.mktemp("console")
    with console_under_test(f"sqlite:///{folder}/ledger.db") as console:
        yield console


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def each_console(
    request: pytest.FixtureRequest, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ConsoleUnderTest]:
    """A console on each engine."""
    if request.param == "postgres":
        cluster: TestCluster = request.getfixturevalue("postgres_cluster")
        with cluster.database(migrated=True) as dsn, console_under_test(dsn) as console:
            yield console
    else:
        with console_under_test(f"sqlite:///{tmp_path_factory.mktemp('console')}/ledger.db") as console:
            yield console


Open = Callable[..., Visit]


@pytest.fixture
def window(browser: Browser) -> Iterator[Open]:
    """Opens windows, `window(console, **options of a browser context)`; no page may have complained in any."""
    visits: list[Visit] = []

    def opened(console: ConsoleUnderTest, **options: Any) -> Visit:  # noqa: ANN401
        visits.append(Visit(browser, console, **options))
        return visits[-1]

    yield opened
    for visit in visits:
        visit.context.close()
    assert [complaint for visit in visits for complaint in visit.complaints] == []


@pytest.fixture
def visit(window: Open, console: ConsoleUnderTest) -> Visit:
    """A window in which the administrator is logged in."""
    opened = window(console)
    opened.log_in()
    return opened


@pytest.fixture
def page(visit: Visit) -> Page:
    """Its page."""
    return visit.page
