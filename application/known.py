"""What a process knows of the installation: tenants and job types, remembered for a moment, asked again on a miss."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from jobledger.domain.errors import ProtectedTenant, TenantSuspended, UnknownJobType, UnknownTenant
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.job_type import JobTypeDefinition
from jobledger.domain.tenant import TenantStatus

from .app import App
from .declared_job import AcceptedPayload
from .ports import Catalogue, Clock
from .registered_type import RegisteredType

REMEMBER_SECONDS = 2.0
"""How long an answer of the catalogue is trusted. A tenant that was suspended meanwhile is caught at the claim."""


class KnownType(Protocol):
    """A job type that payloads can be checked against: declared by this program, or in the registry."""

    @property
    def definition(self) -> JobTypeDefinition:
        """Its definition."""
        ...

    @property
    def payload_fingerprint(self) -> str:
        """The definition's, computed once."""
        ...

    def accept(self, payload: object) -> AcceptedPayload:
        """Validate a payload to dispatch."""
        ...

    def encode_result(self, value: object) -> bytes:
        """Validate a result; as JSON."""
        ...


class _Remembered(NamedTuple):
    until: float
    fingerprint: str
    known: KnownType


def require_not_suspended(catalogue: Catalogue, tenant: str) -> None:
    """Raise `TenantSuspended`; of tenants that are not there nothing is said."""
    row = catalogue.tenant(tenant)
    if row is not None and row.status is TenantStatus.SUSPENDED:
        raise TenantSuspended(tenant)


class KnownTenants:
    """Which tenants may dispatch."""

    def __init__(self, catalogue: Catalogue, clock: Clock) -> None:
        self._catalogue = catalogue
        self._clock = clock
        self._active: dict[str, float] = {}

    def require_active(self, name: str) -> None:
        """Raise `UnknownTenant`, `TenantSuspended`, or `ProtectedTenant` for the installation's own."""
        now = self._clock.monotonic()
        if self._active.get(name, 0.0) > now:
            return
        if name == SYSTEM_TENANT:
            raise ProtectedTenant("jobs belong to customers", field="tenant", rule=f"is not {SYSTEM_TENANT!r}")
        row = self._catalogue.tenant(name)
        if row is None:
            raise UnknownTenant(name)
        if row.status is not TenantStatus.ACTIVE:
            raise TenantSuspended(name)
        self._active[name] = now + REMEMBER_SECONDS

    def require_not_suspended(self, name: str) -> None:
        """Raise `TenantSuspended`, asked just now: what would be given to it would be taken away at the claim."""
        require_not_suspended(self._catalogue, name)

    def require_known(self, name: str) -> None:
        """Raise `UnknownTenant`; suspended ones are known, and may be looked at."""
        if self._active.get(name, 0.0) <= self._clock.monotonic() and self._catalogue.tenant(name) is None:
            raise UnknownTenant(name)

    def forget(self, name: str) -> None:
        """Ask the catalogue again."""
        self._active.pop(name, None)


class KnownTypes:
    """Job types: those of this program first, then those of the installation."""

    def __init__(self, app: App | None, catalogue: Catalogue, clock: Clock) -> None:
        self._app = app
        self._catalogue = catalogue
        self._clock = clock
        self._remembered: dict[str, _Remembered] = {}

    def get(self, name: str) -> KnownType:
        """The type of that name. Raises `UnknownJobType`."""
        declared = self._app.jobs.get(name) if self._app is not None else None
        return declared if declared is not None else self._registered(name)

    def has_code(self, name: str) -> bool:
        """Whether this program declares the type (and so computes its keys)."""
        return self._app is not None and name in self._app.jobs

    def _registered(self, name: str) -> KnownType:
        now = self._clock.monotonic()
        remembered = self._remembered.get(name)
        if remembered is not None and remembered.until > now:
            return remembered.known
        row = self._catalogue.job_type(name)
        if row is None:
            raise UnknownJobType(name, self._names())
        if remembered is None or remembered.fingerprint != row.fingerprint:
            known: KnownType = RegisteredType(row.definition)
        else:
            known = remembered.known
        self._remembered[name] = _Remembered(now + REMEMBER_SECONDS, row.fingerprint, known)
        return known

    def _names(self) -> tuple[str, ...]:
        declared = self._app.jobs if self._app is not None else {}
        return tuple(sorted({*declared, *(row.definition.name for row in self._catalogue.job_types())}))
