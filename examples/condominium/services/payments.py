"""Collect payments. A payment that was collected is never collected again."""

from dataclasses import dataclass
from typing import Protocol

from ..payloads import CapturePayment
from ..results import Capture
from ..workspace import Workspace
from . import tenant_database


class PaymentGateway(Protocol):
    """Port: the payment provider. `provider_client.HttpPaymentGateway` is the adapter."""

    def capture(self, tenant: str, request: CapturePayment, idempotency_key: str) -> Capture:
        """Collect the money; the same key never collects twice.

        Raises ProviderUnavailableError, ProviderRateLimitedError, PaymentDeclinedError, PaymentRejectedError.
        """


@dataclass(frozen=True, slots=True)
class Payments:
    """Payments of all tenants, each recorded in its own tenant's database."""

    workspace: Workspace
    gateway: PaymentGateway

    def capture(self, tenant: str, request: CapturePayment, idempotency_key: str | None = None) -> Capture:
        """Collect a payment and record it. The default key is tenant and payment.

        Raises what the gateway raises, and TenantNotReadyError, TenantCancelledError.
        """
        known = self._recorded(tenant, request)
        if known is not None:
            return known
        capture = self.gateway.capture(tenant, request, idempotency_key or f"{tenant}:{request.payment_id}")
        self._record(tenant, capture)
        return capture

    def _recorded(self, tenant: str, request: CapturePayment) -> Capture | None:
        with tenant_database.transaction(self.workspace.database(tenant)) as connection:
            row = connection.execute(
                "SELECT capture_id, amount_cents, currency FROM capture WHERE payment_id = ?", (request.payment_id,)
            ).fetchone()
        if row is None:
            return None
        return Capture(payment_id=request.payment_id, capture_id=row[0], amount_cents=row[1], currency=row[2])

    def _record(self, tenant: str, capture: Capture) -> None:
        # The money has moved: it is recorded even if the tenant has been cancelled in the meantime.
        path = self.workspace.database(tenant)
        with tenant_database.transaction(path, of_active_tenant=False) as connection:
            connection.execute(
                "INSERT INTO capture (payment_id, capture_id, amount_cents, currency) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (payment_id) DO NOTHING",
                (capture.payment_id, capture.capture_id, capture.amount_cents, capture.currency),
            )
