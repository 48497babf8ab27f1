"""Where the example keeps its files. One folder a tenant, so that nothing of two tenants ever meets."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import PermanentError

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths below `root`; making a path never touches the disk."""

    root: Path

    def tenant(self, tenant: str) -> Path:
        """The folder of a tenant. Raises PermanentError for a name that is no slug (and might climb out)."""
        if not _SLUG.fullmatch(tenant):
            raise PermanentError(f"tenant {tenant!r} is not a slug of a-z, 0-9 and '-'")
        return self.root / "tenants" / tenant

    def database(self, tenant: str) -> Path:
        """The tenant's own database."""
        return self.tenant(tenant) / "condominium.db"

    def vectors(self, tenant: str) -> Path:
        """The tenant's own embeddings."""
        return self.tenant(tenant) / "embeddings.db"

    def invoice(self, tenant: str, invoice_id: str) -> Path:
        """The PDF of an invoice."""
        return self.root / "invoices" / self.tenant(tenant).name / f"{invoice_id}.pdf"

    def receipt(self, tenant: str, payment_id: str) -> Path:
        """The PDF of a receipt."""
        return self.root / "receipts" / self.tenant(tenant).name / f"{payment_id}.pdf"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it, whoever else writes the same at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    part.write_bytes(content)
    part.replace(path)
