"""`ledger.keys`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from jobledger.domain.identity import Grant

from .client_part import ClientPart
from .key_messages import CreateKey, GetKey, IssuedKey, KeyView, ListKeys, RevokeKey, RotateKey


class KeysOf(ClientPart):
    """API keys: who may use the HTTP API, and for what. A key's text stands in the answer that made it only.

    ledger.keys.create("mailer", Grant(role=Role.EMITTER, tenants={"acme"}), reason="OPS-112").credential
    """

    def create(
        self, name: str, *grants: Grant, reason: str, technical: bool = True, expires_at: datetime | None = None
    ) -> IssuedKey:
        """Make a key. Without `technical` it stands for a person, and can never run jobs."""
        return self._ask(
            CreateKey, key_name=name, grants=grants, technical=technical, expires_at=expires_at, reason=reason
        )

    def rotate(
        self,
        key_id: str,
        *,
        reason: str,
        expires_at: datetime | None = None,
        previous_expires_at: datetime | None = None,
    ) -> IssuedKey:
        """Give a key another secret. The last one stays good, until `previous_expires_at` where that is given; the one
        before it goes."""
        return self._ask(
            RotateKey, key_id=key_id, expires_at=expires_at, previous_expires_at=previous_expires_at, reason=reason
        )

    def revoke(self, key_id: str, *, reason: str) -> KeyView:
        """End a key for good."""
        return self._ask(RevokeKey, key_id=key_id, reason=reason)

    def get(self, key_id: str) -> KeyView:
        """One key, without its secrets."""
        return self._ask(GetKey, key_id=key_id)

    def list(self) -> Iterator[KeyView]:
        """Every key there is and was, in the order of ids."""
        after: str | None = ""
        while after is not None:
            page = self._ask(ListKeys, after_key=after)
            yield from page.keys
            after = page.next
