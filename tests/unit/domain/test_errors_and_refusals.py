"""Errors say what happened, which field and rule, and what to run next; a refused dispatch is recorded without data."""

from __future__ import annotations

import inspect

import pytest

from jobledger.domain import errors
from jobledger.domain.errors import InvalidInput, JobledgerError, UnknownTenant
from jobledger.domain.rate_card import COST_MAX, RateCard, Usage
from jobledger.domain.refusal import refuse

_ALL = [
    error for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, JobledgerError)
]  # fmt: skip


def test_there_is_one_root() -> None:
    """A caller catches `JobledgerError` and has caught everything."""
    classes = [error for _, error in inspect.getmembers(errors, inspect.isclass) if error.__module__ == errors.__name__]
    assert all(issubclass(error, JobledgerError) for error in classes)


def test_every_error_has_a_code_of_its_own() -> None:
    """Codes are stored and matched on."""
    codes = [error.code for error in _ALL]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("error", _ALL)
def test_the_docstring_is_the_message(error: type[JobledgerError]) -> None:
    """Every error says what it means."""
    assert error.__doc__


def test_an_error_reads_as_a_sentence() -> None:
    """Field in front, next step behind."""
    assert str(UnknownTenant("acme")) == (
        "tenant: there is no tenant 'acme' (create it with: jobledger tenants create acme)"
    )
    assert str(InvalidInput("too long")) == "too long"


def test_a_refusal_is_recorded_with_what_was_claimed() -> None:
    """Code, field, rule and line; what was claimed may not exist."""
    facts = refuse(UnknownTenant("ghost"), tenant="ghost", job_type="invoice.send", line=7)
    assert (facts.tenant_claimed, facts.type_claimed, facts.line) == ("ghost", "invoice.send", 7)
    assert (facts.code, facts.field, facts.rule) == ("unknown_tenant", "tenant", "must exist")


def test_a_refusal_is_bounded() -> None:
    """Whatever was sent: claims are cut to 120 characters, the message to 500."""
    facts = refuse(InvalidInput("m" * 9_000, field="f", rule="r"), tenant="t" * 9_000, job_type="j" * 9_000)
    assert (len(facts.tenant_claimed), len(facts.type_claimed), len(facts.message)) == (120, 120, 500)


def test_an_estimate_adds_up() -> None:
    """A price an attempt, a CPU second and a unit; units without a price cost nothing."""
    card = RateCard(version="2026", per_attempt=0.01, per_cpu_second=0.1, per_unit={"tokens": 0.001})
    assert card.estimate(Usage(cpu_seconds=2, units={"tokens": 100, "pages": 3})) == pytest.approx(0.31)
    assert RateCard().estimate(Usage(cpu_seconds=5)) == 0


@pytest.mark.parametrize("fields", [{"per_attempt": -1}, {"per_cpu_second": -0.1}, {"unknown": 1}])
def test_a_rate_card_has_no_negative_prices(fields: dict[str, float]) -> None:
    """And no fields that it does not know."""
    with pytest.raises(ValueError, match="validation error"):
        RateCard.model_validate(fields)


@pytest.mark.parametrize("price", [10.0, 1e308, -10.0])
def test_whatever_a_handler_reports_costs_a_number(price: float) -> None:
    """An amount near the largest number does not make a cost that the ledger could not hold."""
    card = RateCard(per_attempt=1.0, per_unit={"tokens": price, "calls": 1e308})
    for usage in (Usage(units={"tokens": 1e308}), Usage(units={"tokens": 1e308, "calls": 1e308})):
        assert abs(card.estimate(usage)) <= COST_MAX
