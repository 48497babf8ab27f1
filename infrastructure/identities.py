"""Who may come in: the authenticator of an open ledger, and the first key of a new installation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from jobledger.application.authentication import ApiKeys, Authenticator, Authenticators
from jobledger.application.key_messages import CreateFirstKey
from jobledger.application.key_uses import KeyUses, KeyUseThread
from jobledger.application.message import Actor
from jobledger.application.ports import Clock
from jobledger.domain.errors import InvalidSettings

from .bootstrap import LedgerHandle
from .oidc_settings import OidcSettings

FIRST_START = Actor(id="system:first-start")


@contextmanager
def open_authenticator(handle: LedgerHandle) -> Iterator[Authenticator]:
    """What proves who asks, by the keys of the ledger. Safe in any thread; uses of keys are stored in the background
    until the block ends, which has to be before the ledger is closed."""
    ports = handle.ports
    uses = KeyUses(ports.keys, ports.clock)
    with ExitStack() as closing:
        thread = KeyUseThread(uses)
        thread.start()
        closing.callback(thread.close)
        keys = ApiKeys(ports.reader, ports.clock, uses)
        oidc = handle.settings.oidc
        yield Authenticators(keys, None if oidc is None else _tokens(oidc, ports.clock, closing))


def _tokens(oidc: OidcSettings, clock: Clock, closing: ExitStack) -> Authenticator:
    try:
        from .http.issuer_keys import IssuerKeys  # noqa: PLC0415 - only servers that take tokens have what it needs
        from .http.oidc import OidcTokens  # noqa: PLC0415
    except ImportError as error:
        raise InvalidSettings(
            "tokens need an extra", field="JOBLEDGER_OIDC_ISSUER", rule="needs joserfc and httpx",
            hint="pip install 'jobledger[server]'",
        ) from error  # fmt: skip
    keys = IssuerKeys(oidc, clock)
    closing.callback(keys.close)
    return OidcTokens(oidc, keys, clock)


def ensure_admin_key(handle: LedgerHandle) -> str | None:
    """Make a key that may do everything a person may, where the installation never had a key; its text, which is
    nowhere else. None: there is, or was, a key. Of processes that start at the same time one makes it."""
    reason = "first start: the installation had no key"
    issued = handle.dispatcher.send(CreateFirstKey, actor=FIRST_START, reason=reason).unwrap()
    return None if issued is None else issued.credential
