"""What `import jobledger` offers, and what it does not load for that."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import ModuleType

import pytest

import jobledger
from jobledger.application import (
    audit_client,
    audit_messages,
    client,
    dlq_client,
    dlq_messages,
    key_client,
    key_messages,
    limit_client,
    limit_messages,
    past_client,
    queries,
    statistics,
)
from jobledger.application.message import Query


@pytest.mark.parametrize("name", jobledger.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """What `__all__` promises can be had, and is the thing of that name."""
    assert getattr(jobledger, name) is not None
    assert name in dir(jobledger)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Names are looked up late, typing errors are still told."""
    with pytest.raises(AttributeError, match="no attribute 'Legder'"):
        jobledger.Legder  # type: ignore[attr-defined]  # noqa: B018


def test_the_import_alone_loads_no_driver_and_no_adapter() -> None:
    """`import jobledger` is quick: neither pydantic nor psycopg nor rich is needed for it."""
    code = "import jobledger, sys; print(sorted({'pydantic', 'psycopg', 'rich', 'structlog'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"


def test_the_version_command_loads_nothing_that_it_does_not_need() -> None:
    """`jobledger version` answers at once: what takes long to load is loaded by commands that need it."""
    code = (
        "import sys; from jobledger.infrastructure.cli.main import run; run(['version']); "
        "print(sorted({'psycopg', 'structlog', 'eventsourcing', 'pydantic_settings'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert answer.splitlines()[-1] == "[]"


_CLIENTS = (client, past_client, audit_client, dlq_client, key_client, limit_client)


@pytest.mark.parametrize(
    "module",
    [audit_messages, dlq_messages, key_messages, limit_messages, queries, statistics],
    ids=lambda module: module.__name__,
)
def test_every_question_can_be_asked_in_python(module: ModuleType) -> None:
    """What the command line shows, a program gets from a method of the ledger."""
    own = [kind for _, kind in inspect.getmembers(module, inspect.isclass) if kind.__module__ == module.__name__]
    questions = {kind.__name__ for kind in own if issubclass(kind, Query) and kind.__name__.isalpha()}
    used = {name for each in _CLIENTS for name in vars(each)}
    assert questions and questions <= used
