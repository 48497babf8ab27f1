"""What a server shows over HTTP, wired together for whoever starts one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from .bootstrap import LedgerHandle
from .http.server import Server, make_server_app, services_for


class Place(NamedTuple):
    """Where a server listens: `host` and `port`, the Unix socket `uds`, or both."""

    host: str | None
    port: int = 0
    uds: Path | None = None


@contextmanager
def serving(handle: LedgerHandle, place: Place) -> Iterator[Server]:
    """A server during the block; requests under way are finished at its end. Raises `InvalidSettings` where it cannot
    listen there."""
    with ExitStack() as closing:
        services = closing.enter_context(services_for(handle))
        server = Server(make_server_app(services), host=place.host, port=place.port, uds=place.uds)
        closing.callback(server.close)
        server.start()
        yield server
