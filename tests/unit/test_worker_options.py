"""Whom a worker works for, and how fast: what is chosen comes before what the environment says."""

from __future__ import annotations

import pytest

from jobledger import Rate
from jobledger.application.worker import WorkerOptions
from jobledger.domain.errors import InvalidInput, InvalidSettings
from jobledger.infrastructure.service import worker_options
from jobledger.infrastructure.settings import load
from tests.support.use_cases import app


def options(**chosen: object) -> WorkerOptions:
    """The options of a worker for these tests' program."""
    return worker_options(load(), app, **chosen)  # type: ignore[arg-type]


def test_a_worker_works_for_everybody_unless_told_otherwise() -> None:
    """As fast as it can."""
    assert (options().tenants, options().personas, options().rate) == (None, None, None)


def test_the_environment_says_whom_it_works_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names with commas between, a rate as people write it."""
    monkeypatch.setenv("JOBLEDGER_WORKER_TENANTS", "acme, nova")
    monkeypatch.setenv("JOBLEDGER_WORKER_PERSONAS", "billing-bot")
    monkeypatch.setenv("JOBLEDGER_WORKER_RATE", "50/1s")
    said = options()
    assert (said.tenants, said.personas, said.rate) == (("acme", "nova"), ("billing-bot",), Rate(count=50, seconds=1))


def test_what_is_chosen_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenants and personas are one choice: a worker chosen for a tenant is not narrowed to personas of another."""
    monkeypatch.setenv("JOBLEDGER_WORKER_TENANTS", "acme")
    monkeypatch.setenv("JOBLEDGER_WORKER_PERSONAS", "billing-bot")
    monkeypatch.setenv("JOBLEDGER_WORKER_RATE", "50/1s")
    said = options(tenants=("nova",), rate=Rate(count=1, seconds=2))
    assert (said.tenants, said.personas, said.rate) == (("nova",), None, Rate(count=1, seconds=2))


def test_personas_need_their_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two customers may have a persona of one name; option and variable are refused alike."""
    with pytest.raises(InvalidInput) as caught:
        options(personas=("billing-bot",))
    assert (caught.value.field, "--tenant acme" in (caught.value.hint or "")) == ("personas", True)
    monkeypatch.setenv("JOBLEDGER_WORKER_PERSONAS", "billing-bot")
    with pytest.raises(InvalidSettings, match="JOBLEDGER_WORKER_TENANTS"):
        load()


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("JOBLEDGER_WORKER_RATE", "fast", "100/60s"), ("JOBLEDGER_WORKER_RATE", "0/s", "1 to"),
        ("JOBLEDGER_WORKER_TENANTS", "acme,Not A Slug", "pattern"),
    ],
)  # fmt: skip
def test_a_bad_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str, rule: str) -> None:
    """And the rule that it breaks."""
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as caught:
        load()
    assert caught.value.field == name
    assert rule in str(caught.value)
