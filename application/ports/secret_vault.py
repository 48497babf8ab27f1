"""Where secrets are kept."""

from __future__ import annotations

from typing import Protocol


class SecretVault(Protocol):
    """Where secrets are kept. Asked while jobs run, from many threads; an answer may be remembered for seconds."""

    def get(self, name: str, tenant: str) -> str:
        """The text of a secret. `UnknownSecret` where that tenant has none of that name; `VaultUnavailable` where the
        vault cannot say. No message of theirs shows a secret."""
        ...
