"""Payments through the real client against the real flaky provider."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from examples.condominium.errors import (
    PaymentDeclinedError,
    PaymentRejectedError,
    ProviderRateLimitedError,
    ProviderUnavailableError,
    TenantNotReadyError,
)
from examples.condominium.events import DEFAULT_SEED
from examples.condominium.payloads import CapturePayment, ProvisionTenant
from examples.condominium.provider import TRIES, FlakyProvider, Mood, mood_of
from examples.condominium.provider_client import HttpPaymentGateway
from examples.condominium.services.payments import Payments
from examples.condominium.services.tenants import Tenants
from examples.condominium.stories import CAPTURED_PER_TENANT
from examples.condominium.workspace import Workspace

SEED = DEFAULT_SEED
TENANT = "acme"


@pytest.fixture
def provider() -> Iterator[FlakyProvider]:
    with FlakyProvider(SEED) as running:
        yield running


@pytest.fixture
def payments(provider: FlakyProvider, tmp_path: Path) -> Iterator[Payments]:
    workspace = Workspace(tmp_path)
    Tenants(workspace).provision(TENANT, ProvisionTenant(name="Acme", plan="basic", units=3))
    with HttpPaymentGateway(provider.url, timeout_seconds=0.2) as gateway:
        yield Payments(workspace, gateway)


def payment(mood: Mood) -> CapturePayment:
    """A payment that this provider treats so."""
    payment_id = next(name for name in (f"PAY-{number}" for number in range(1_000)) if mood_of(SEED, name) is mood)
    return CapturePayment(payment_id=payment_id, invoice_id="INV-1", amount_cents=12_345, currency="BRL")


def test_a_fine_payment_is_captured_once(payments: Payments, provider: FlakyProvider) -> None:
    """A captured payment is answered from our own record the next time."""
    first = payments.capture(TENANT, payment(Mood.FINE))
    assert payments.capture(TENANT, payment(Mood.FINE)) == first
    assert (first.amount_cents, first.currency) == (12_345, "BRL")
    assert list(provider.books.tries.values()) == [1]


def test_a_provider_that_is_down_comes_back(payments: Payments) -> None:
    """503 is temporary: after the known number of tries the payment is captured."""
    for _ in range(TRIES[Mood.DOWN]):
        with pytest.raises(ProviderUnavailableError, match="503"):
            payments.capture(TENANT, payment(Mood.DOWN))
    assert payments.capture(TENANT, payment(Mood.DOWN)).capture_id


def test_a_provider_that_is_out_of_order_stays_so(payments: Payments) -> None:
    """Each try meets an error that calls itself temporary: only a limit on attempts ends this."""
    for _ in range(10):
        with pytest.raises(ProviderUnavailableError, match="503"):
            payments.capture(TENANT, payment(Mood.OUT))


def test_a_busy_provider_says_when_to_come_back(payments: Payments) -> None:
    """429 is temporary and carries its Retry-After."""
    with pytest.raises(ProviderRateLimitedError) as caught:
        payments.capture(TENANT, payment(Mood.BUSY))
    assert caught.value.retry_after_seconds == 1.0
    assert payments.capture(TENANT, payment(Mood.BUSY)).capture_id


def test_an_answer_too_late_does_not_collect_twice(payments: Payments, provider: FlakyProvider) -> None:
    """The money moves although the client gave up; trying again finds the same capture."""
    with pytest.raises(ProviderUnavailableError, match="in time"):
        payments.capture(TENANT, payment(Mood.SLOW))
    assert len(provider.books.captures) == 1
    capture = payments.capture(TENANT, payment(Mood.SLOW))
    assert [known["capture_id"] for known in provider.books.captures.values()] == [capture.capture_id]


@pytest.mark.parametrize(("mood", "error"), [(Mood.BROKE, PaymentDeclinedError), (Mood.WRONG, PaymentRejectedError)])
def test_a_refused_payment_stays_refused(payments: Payments, mood: Mood, error: type[Exception]) -> None:
    """402 and 422 are permanent, however often one asks."""
    for _ in range(3):
        with pytest.raises(error):
            payments.capture(TENANT, payment(mood))


def test_no_money_for_an_unknown_tenant(payments: Payments, provider: FlakyProvider) -> None:
    """A tenant that is not there is noticed before the provider is asked."""
    with pytest.raises(TenantNotReadyError):
        payments.capture("other", payment(Mood.FINE))
    assert provider.books.tries == {}


def test_a_provider_that_is_gone_is_temporary() -> None:
    """A refused connection is a temporary error."""
    with FlakyProvider(SEED) as provider:
        url = provider.url
    with HttpPaymentGateway(url, timeout_seconds=0.2) as gateway, pytest.raises(ProviderUnavailableError):
        gateway.capture(TENANT, payment(Mood.FINE), "key")


@pytest.mark.parametrize("body", [b"not json", b"[]", b"{}"])
def test_the_provider_refuses_what_it_cannot_read(provider: FlakyProvider, body: bytes) -> None:
    """A body that is no capture, and a missing key, are answered with 400."""
    url = f"{provider.url}/v1/captures"
    with httpx.Client(timeout=5.0, trust_env=False) as client:
        assert client.post(url, content=body, headers={"Idempotency-Key": "k"}).status_code == 400
        assert client.post(url, content=b'{"payment_id": "PAY-1"}').status_code == 400


def test_the_default_story_meets_every_mood() -> None:
    """Among the payments of the default seed each way to fare occurs."""
    tenants = ("aurora", "bela-vista", "jardim-sul", "porto-alto", "casa-verde")
    ids = [f"PAY-{tenant}-{number + 1:03d}" for tenant in tenants for number in range(CAPTURED_PER_TENANT)]
    assert {mood_of(DEFAULT_SEED, name) for name in ids} == set(Mood)
