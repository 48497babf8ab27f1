"""Where a server is: a URL, or a Unix socket."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from os import PathLike, fspath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import httpx

_UNIX = "http+unix"
_UNIX_BASE = "http://localhost"

Key = str | Callable[[], str] | None
"""An API key or a token; or what gives the one to use now, for tokens that are renewed."""


class Address(NamedTuple):
    """`base` is what requests are made of; `uds` the socket that they go through, None: a port."""

    base: str
    uds: str | None


def address(url: str | None, uds: str | PathLike[str] | None, *, is_connected: bool = False) -> Address:
    """The address that a caller names: one of `http://host:port`, `http+unix:///path/to.sock` and a path `uds`. Whoever
    is connected already has chosen the socket there."""
    where = _address(url, uds)
    if is_connected and where.uds is not None:
        raise ValueError("a socket is chosen with the transport of your httpx client: httpx.HTTPTransport(uds=...)")
    return where


def _address(url: str | None, uds: str | PathLike[str] | None) -> Address:
    if (url is None) == (uds is None):
        raise ValueError("say where the server is: either a url or uds=...")
    if uds is not None:
        return Address(_UNIX_BASE, fspath(uds))
    assert url is not None
    parts = urlsplit(url)
    if parts.scheme == _UNIX:
        if parts.netloc or not parts.path:
            raise ValueError(f"{_UNIX} URLs are written {_UNIX}:///path/to.sock")
        return Address(_UNIX_BASE, unquote(parts.path))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"a url begins with http://, https:// or {_UNIX}://")
    return Address(url.rstrip("/"), None)


def credential_of(key: Key) -> Callable[[], str | None]:
    """What gives the credential of the next request. Raises `ValueError` for one that no header can hold."""
    if callable(key):
        return lambda: _clean(key())
    clean = _clean(key)
    return lambda: clean


def _clean(key: str | None) -> str | None:
    """Files and variables often end with a line feed."""
    stripped = None if key is None else key.strip()
    if stripped is not None and not (stripped.isascii() and stripped.isprintable()):
        raise ValueError("a key is printable ASCII text")
    return stripped


def httpx_options(where: Address, timeout_seconds: float) -> dict[str, Any]:
    """What both kinds of httpx clients are made with."""
    return {
        "base_url": where.base, "timeout": timeout_seconds, "follow_redirects": False,
    }  # fmt: skip


def transport(where: Address) -> httpx.HTTPTransport | None:
    """The way through a socket; None: httpx's own way."""
    return None if where.uds is None else httpx.HTTPTransport(uds=where.uds)


def async_transport(where: Address) -> httpx.AsyncHTTPTransport | None:
    """As `transport`."""
    return None if where.uds is None else httpx.AsyncHTTPTransport(uds=where.uds)


@cache
def user_agent() -> str:
    """What the client says that it is."""
    try:
        return f"jobledger-client/{version('jobledger')}"
    except PackageNotFoundError:
        return "jobledger-client"
