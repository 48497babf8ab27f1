"""An OIDC issuer of a test's own: a real HTTP server on this machine, with keys that it can change."""

from __future__ import annotations

import json
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwk, jwt
from joserfc.jwk import Key, RSAKey

DISCOVERY, KEYS = "/.well-known/openid-configuration", "/keys"
_MADE: dict[tuple[str, int], RSAKey] = {}

Answer = tuple[int, bytes]


def rsa_key(number: int = 1, *, bits: int = 2_048) -> RSAKey:
    """An RSA key, the same for the same number: making one takes long."""
    if (f"rsa{bits}", number) not in _MADE:
        kid = f"rsa-{number}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a weak one is wanted as such
            _MADE[f"rsa{bits}", number] = jwk.RSAKey.generate_key(bits, {"kid": kid, "use": "sig"}, private=True)
    return _MADE[f"rsa{bits}", number]


def ec_key(curve: str = "P-256", kid: str = "ec-1") -> Key:
    """An elliptic curve's key."""
    return jwk.ECKey.generate_key(curve, {"kid": kid}, private=True)


def ed_key(kid: str = "ed-1") -> Key:
    """A key of Ed25519."""
    return jwk.OKPKey.generate_key("Ed25519", {"kid": kid}, private=True)


def published(*keys: Key) -> dict[str, Any]:
    """The document that tells of keys."""
    return {"keys": [key.as_dict(private=False) for key in keys]}


def signed(claims: Mapping[str, Any], key: Key, algorithm: str = "RS256", *, kid: bool = True, **header: object) -> str:
    """A token."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # EdDSA has a newer name
        header = {"alg": algorithm, **({"kid": key.kid} if kid else {}), **header}
        return jwt.encode(header, dict(claims), key, [algorithm])


class Issuer:
    """What the server answers, by path; `requests` counts what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: Counter[str] = Counter()
        self.answers: dict[str, Callable[[], Answer]] = {}
        self.say(DISCOVERY, {"issuer": url, "jwks_uri": f"{url}{KEYS}"})
        self.publish(rsa_key())

    def say(self, path: str, document: object, status: int = 200) -> None:
        """Answer with JSON from now on."""
        content = json.dumps(document).encode()
        self.answers[path] = lambda: (status, content)

    def say_raw(self, path: str, content: bytes, status: int = 200) -> None:
        """Answer with these bytes from now on."""
        self.answers[path] = lambda: (status, content)

    def publish(self, *keys: Key) -> None:
        """These are the keys from now on."""
        self.say(KEYS, published(*keys))


@contextmanager
def issuer() -> Iterator[Issuer]:
    """A running issuer; at the end of the block it does not answer any more."""

    class Handler(BaseHTTPRequestHandler):
        """Answers as the issuer says."""

        def do_GET(self) -> None:
            """One request."""
            running.requests[self.path] += 1
            status, content = running.answers.get(self.path, lambda: (404, b""))()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        running = Issuer(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()
