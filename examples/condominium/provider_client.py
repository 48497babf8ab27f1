"""The adapter to the payment provider: HTTP in, typed errors out."""

from types import TracebackType
from typing import Self

import httpx

from .errors import PaymentDeclinedError, PaymentRejectedError, ProviderRateLimitedError, ProviderUnavailableError
from .payloads import CapturePayment
from .results import Capture


class HttpPaymentGateway:
    """PaymentGateway over HTTP; thread-safe.

    `timeout_seconds` bounds connecting, sending and each wait for bytes. It has no default: nobody forgets it.
    """

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._client = httpx.Client(base_url=url, timeout=httpx.Timeout(timeout_seconds), trust_env=False)

    def capture(self, tenant: str, request: CapturePayment, idempotency_key: str) -> Capture:
        """See services.payments.PaymentGateway."""
        body = {**request.model_dump(mode="json"), "tenant": tenant}
        headers = {"Idempotency-Key": idempotency_key}
        try:
            response = self._client.post("/v1/captures", json=body, headers=headers)
        except httpx.TimeoutException as error:
            raise ProviderUnavailableError("the payment provider did not answer in time") from error
        except httpx.TransportError as error:
            raise ProviderUnavailableError("the payment provider cannot be reached") from error
        _raise_for_status(response)
        return _capture(response)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _raise_for_status(response: httpx.Response) -> None:
    match response.status_code:
        case 200 | 201:
            return
        case 402:
            raise PaymentDeclinedError(_reason(response))
        case 429:
            raise ProviderRateLimitedError(_reason(response), retry_after_seconds=_retry_after(response))
        case status if status >= 500:
            raise ProviderUnavailableError(f"the payment provider answers {status}: {_reason(response)}")
        case status:
            raise PaymentRejectedError(f"the payment provider answers {status}: {_reason(response)}")


def _capture(response: httpx.Response) -> Capture:
    try:
        answer = response.json()
        return Capture(**{name: answer[name] for name in Capture.model_fields})
    except (ValueError, KeyError, TypeError) as error:
        # The money may have moved: asking again with the same key is safe, giving up is not.
        raise ProviderUnavailableError("the payment provider's answer cannot be read") from error


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase


def _retry_after(response: httpx.Response) -> float:
    """Seconds; the header's other form, a date, is not worth a clock here."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else 1.0
