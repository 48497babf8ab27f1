"""The keys of an OIDC issuer: found by discovery, remembered, asked for again when they grow old or one is unknown."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from threading import Lock
from typing import Any, Final, NamedTuple

import httpx
from joserfc import jwk
from joserfc.errors import JoseError
from joserfc.jwk import Key

from jobledger.application.logs import logger
from jobledger.application.ports import Clock
from jobledger.domain.errors import IssuerUnavailable

from ..oidc_settings import OidcSettings, is_trustworthy

KEEP_SECONDS = 600.0
"""How long keys are trusted before the issuer is asked again."""
RETRY_SECONDS, FIRST_RETRY_SECONDS = 30.0, 2.0
"""How often the issuer is asked at most; while no key is known at all, more often."""
TIMEOUT_SECONDS = 5.0
_OTHERS_SECONDS = 0.5
"""How long a request waits for another one that is asking, while no key is known."""
_DOCUMENT_BYTES_MAX = 1 << 20
_KEYS_MAX = 100
_RSA_BITS_MIN = 2_048
_CURVES: Final = {
    "ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519", "Ed25519": "Ed25519",
}  # fmt: skip


class IssuerKey(NamedTuple):
    """A key that tokens are verified with, and what the issuer says of it."""

    key: Key
    said: dict[str, Any]

    def fits(self, algorithm: str) -> bool:
        """Whether it is one of that algorithm, and meant for signatures."""
        if self.said.get("use", "sig") != "sig" or self.said.get("alg", algorithm) != algorithm:
            return False
        operations = self.said.get("key_ops")
        if operations is not None and "verify" not in operations:
            return False
        if algorithm in _CURVES:
            return self.said.get("crv") == _CURVES[algorithm]
        return self.said.get("kty") == "RSA"


class IssuerKeys:
    """The keys of one issuer. Safe in any thread: one asks the issuer, the others go on with what is known.

    An issuer that does not answer changes nothing about the keys that are known.
    """

    def __init__(self, settings: OidcSettings, clock: Clock, client: httpx.Client | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._client = client or httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False)
        self._asking = Lock()
        self._keys: tuple[IssuerKey, ...] = ()
        self._fetched_at: float | None = None
        self._tried_at: float | None = None

    def find(self, key_id: str | None, algorithm: str) -> Key | None:
        """The key of a token; None where the issuer has none like that. Without an id it has to be the only one that
        fits. `IssuerUnavailable` where the issuer does not answer and no key is known."""
        if self._fetched_at is None or self._clock.monotonic() - self._fetched_at >= KEEP_SECONDS:
            self._refresh()
        found = self._known(key_id, algorithm)
        if found is None and self._fetched_at is not None and self._refresh():
            found = self._known(key_id, algorithm)
        if self._fetched_at is None:
            raise IssuerUnavailable(
                f"the issuer {self._settings.issuer} does not answer, and none of its keys is known",
                hint="try again; API keys work meanwhile",
            )
        return found

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _known(self, key_id: str | None, algorithm: str) -> Key | None:
        fitting = [each.key for each in self._keys if each.fits(algorithm) and key_id in (None, each.said.get("kid"))]
        if not fitting or (key_id is None and len(fitting) > 1):
            return None
        return fitting[0]

    def _refresh(self) -> bool:
        """Ask the issuer, if it is time to; whether its keys were read anew. Who finds another asking waits for it only
        where no key is known, and not for long: an issuer that hangs must not keep every thread."""
        wait_seconds = _OTHERS_SECONDS if self._fetched_at is None else 0.0
        if not self._asking.acquire(timeout=wait_seconds):
            return False
        try:
            retry_seconds = FIRST_RETRY_SECONDS if self._fetched_at is None else RETRY_SECONDS
            now = self._clock.monotonic()
            if self._tried_at is not None and now - self._tried_at < retry_seconds:
                return False
            try:
                return self._fetch(now)
            finally:
                self._tried_at = (
                    self._clock.monotonic()
                )  # not of its beginning: it may have taken longer than the pause
        finally:
            self._asking.release()

    def _fetch(self, now: float) -> bool:
        try:
            keys = self._read_keys(self._settings.jwks_url or self._discover())
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
            logger().warning("oidc.keys_not_read", issuer=self._settings.issuer, error=str(error)[:300])
            return False
        self._keys, self._fetched_at = keys, now
        logger().info("oidc.keys_read", issuer=self._settings.issuer, keys=len(keys))
        return True

    def _discover(self) -> str:
        """Where the keys are, as the issuer says."""
        said = self._document(f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration")
        if said.get("issuer") != self._settings.issuer:
            raise ValueError("the discovery document names another issuer")
        url = said.get("jwks_uri")
        if not isinstance(url, str) or not is_trustworthy(url):
            raise ValueError("the discovery document names no https URL of keys")
        return url

    def _read_keys(self, url: str) -> tuple[IssuerKey, ...]:
        listed = self._document(url).get("keys")
        if not isinstance(listed, list):
            raise ValueError("there is no list of keys")
        keys = tuple(key for key in map(_imported, listed[:_KEYS_MAX]) if key is not None)
        if not keys:
            raise ValueError("there is no key that tokens could be verified with")
        return keys

    def _document(self, url: str) -> dict[str, Any]:
        """A JSON object, of bounded size."""
        with self._client.stream("GET", url, headers={"Accept": "application/json"}) as answer:
            if answer.status_code != httpx.codes.OK:
                raise ValueError(f"{url} answers {answer.status_code}")
            content, give_up_at = b"", self._clock.monotonic() + TIMEOUT_SECONDS
            for part in answer.iter_bytes():
                content += part
                if self._clock.monotonic() > give_up_at:
                    raise ValueError(f"{url} answers too slowly")
                if len(content) > _DOCUMENT_BYTES_MAX:
                    raise ValueError(f"{url} answers with more than {_DOCUMENT_BYTES_MAX:,} bytes")
        document = httpx.Response(200, content=content).json()
        if not isinstance(document, dict):
            raise ValueError(f"{url} answers with no JSON object")
        return document


def _imported(said: object) -> IssuerKey | None:
    """A key for signatures; None for what is none, or is too weak."""
    if not isinstance(said, dict) or said.get("kty") not in {"RSA", "EC", "OKP"}:
        return None
    try:
        if said["kty"] == "RSA" and _bits(said["n"]) < _RSA_BITS_MIN:
            return None
        return IssuerKey(jwk.import_key(said), said)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _bits(modulus: str) -> int:
    return int.from_bytes(urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4))).bit_length()
