"""The one place where the services are made. Two variables say what differs between installations:

CONDOMINIUM_HOME          where the tenants' files lie (default: var/demo/files)
CONDOMINIUM_PROVIDER_URL  the payment provider (default: http://127.0.0.1:8402, where nobody answers)
"""

import os
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from .provider_client import HttpPaymentGateway
from .services.assistant import Assistant
from .services.documents import Documents
from .services.invoices import Invoices
from .services.payments import Payments
from .services.tenants import Tenants
from .workspace import Workspace

HOME = "CONDOMINIUM_HOME"
HOME_DEFAULT = "var/demo/files"
PROVIDER_URL = "CONDOMINIUM_PROVIDER_URL"
PROVIDER_URL_DEFAULT = "http://127.0.0.1:8402"
PROVIDER_TIMEOUT_SECONDS = 1.5

_MAKING = Lock()


class Services(NamedTuple):
    """The application services, ready to be called from any thread."""

    tenants: Tenants
    invoices: Invoices
    payments: Payments
    documents: Documents
    assistant: Assistant


def services() -> Services:
    """The services of this process."""
    with _MAKING:  # lru_cache alone would let the first threads make several
        return _make()


@lru_cache(maxsize=1)
def _make() -> Services:
    workspace = Workspace(Path(os.environ.get(HOME, HOME_DEFAULT)))
    gateway = HttpPaymentGateway(os.environ.get(PROVIDER_URL, PROVIDER_URL_DEFAULT), PROVIDER_TIMEOUT_SECONDS)
    return Services(
        tenants=Tenants(workspace),
        invoices=Invoices(workspace),
        payments=Payments(workspace, gateway),
        documents=Documents(workspace),
        assistant=Assistant(workspace),
    )
