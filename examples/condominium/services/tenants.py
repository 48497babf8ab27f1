"""Provision and cancel a tenant, step by step.

Each step may run any number of times. A job handler can run them one by one (`context.step(...)`), or all with
`provision` and `cancel`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..catalog import PERSONAS
from ..payloads import CancelTenant, ProvisionTenant
from ..results import CancelledTenant, ProvisionedTenant
from ..workspace import Workspace, write_whole
from . import tenant_database
from .vector_store import VectorStore


@dataclass(frozen=True, slots=True)
class Tenants:
    """The tenants' folders, databases and default personas."""

    workspace: Workspace

    def create_directory(self, tenant: str) -> str:
        """Step 1: the tenant's folder."""
        directory = self.workspace.tenant(tenant)
        (directory / "documents").mkdir(parents=True, exist_ok=True)
        return str(directory)

    def create_database(self, tenant: str, request: ProvisionTenant) -> str:
        """Step 2: the tenant's database with its master record."""
        path = self.workspace.database(tenant)
        tenant_database.create(path)
        with tenant_database.transaction(path, of_active_tenant=False) as connection:
            connection.execute(
                "INSERT INTO tenant (slug, name, plan, units) VALUES (?, ?, ?, ?) ON CONFLICT (slug) DO NOTHING",
                (tenant, request.name, request.plan, request.units),
            )
        return str(path)

    def create_personas(self, tenant: str, names: Iterable[str] = PERSONAS) -> tuple[str, ...]:
        """Step 3: the default personas. Raises TenantNotReadyError, TenantCancelledError."""
        with tenant_database.transaction(self.workspace.database(tenant)) as connection:
            connection.executemany(
                "INSERT INTO persona (name) VALUES (?) ON CONFLICT (name) DO NOTHING", [(name,) for name in names]
            )
            rows = connection.execute("SELECT name FROM persona WHERE active = 1 ORDER BY name").fetchall()
        return tuple(str(row[0]) for row in rows)

    def write_welcome_document(self, tenant: str, request: ProvisionTenant) -> str:
        """Step 4: what the new customer reads first."""
        text = (
            f"# Welcome, {request.name}\n\n"
            f"Your plan is {request.plan}, for {request.units} units. These personas work for you:\n\n"
            + "".join(f"- {name}\n" for name in PERSONAS)
        )
        return self._write_document(tenant, "welcome.md", text)

    def provision(self, tenant: str, request: ProvisionTenant) -> ProvisionedTenant:
        """All steps in their order."""
        directory = self.create_directory(tenant)
        self.create_database(tenant, request)
        personas = self.create_personas(tenant)
        welcome = self.write_welcome_document(tenant, request)
        return ProvisionedTenant(directory=directory, personas=personas, welcome_document=welcome)

    def close_account(self, tenant: str, request: CancelTenant) -> int:
        """Step 1 of cancelling: from here on every other service refuses the tenant. Returns its personas.

        Raises TenantNotReadyError for a tenant that was never provisioned.
        """
        path = self.workspace.database(tenant)
        with tenant_database.transaction(path, of_active_tenant=False) as connection:
            connection.execute(
                "UPDATE tenant SET status = 'cancelled', cancelled_because = ? WHERE status = 'active'",
                (request.reason,),
            )
            connection.execute("UPDATE persona SET active = 0")
            return int(connection.execute("SELECT count(*) FROM persona").fetchone()[0])

    def remove_embeddings(self, tenant: str) -> int:
        """Step 2 of cancelling: embeddings are derived data and go. Returns how many chunks there were."""
        return VectorStore(self.workspace.vectors(tenant)).clear()

    def write_closing_statement(self, tenant: str, request: CancelTenant) -> str:
        """Step 3 of cancelling."""
        text = f"# Contract ended on {request.effective_on.isoformat()}\n\nReason: {request.reason}\n"
        return self._write_document(tenant, "closing-statement.md", text)

    def cancel(self, tenant: str, request: CancelTenant) -> CancelledTenant:
        """All steps of cancelling in their order."""
        personas = self.close_account(tenant, request)
        removed = self.remove_embeddings(tenant)
        statement = self.write_closing_statement(tenant, request)
        return CancelledTenant(personas_deactivated=personas, embeddings_removed=removed, closing_statement=statement)

    def _write_document(self, tenant: str, name: str, text: str) -> str:
        path: Path = self.workspace.tenant(tenant) / "documents" / name
        write_whole(path, text.encode())
        return str(path)
