"""What the application services raise: the caller learns from the type alone whether trying again can help."""


class ServiceError(Exception):
    """A service could not do what was asked."""


class TemporaryError(ServiceError):
    """The same call may succeed later."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class PermanentError(ServiceError):
    """The same call will never succeed: somebody has to change something first."""


class TenantNotReadyError(TemporaryError):
    """The tenant is not provisioned (yet)."""


class TenantCancelledError(PermanentError):
    """The tenant has been cancelled; its data is read-only."""


class UnknownTextError(PermanentError):
    """No such text in the library."""


class ConflictingActionError(PermanentError):
    """A confirmed action cannot be applied: what it wants has been taken by another one."""


class NothingEmbeddedError(TemporaryError):
    """The tenant has no embeddings to answer from (yet)."""


class ProviderUnavailableError(TemporaryError):
    """The payment provider is down, or did not answer in time."""


class ProviderRateLimitedError(TemporaryError):
    """The payment provider asks us to slow down; `retry_after_seconds` says for how long."""


class PaymentDeclinedError(PermanentError):
    """The payer's bank refuses the payment (402)."""


class PaymentRejectedError(PermanentError):
    """The payment provider does not accept the request as it stands (4xx)."""
