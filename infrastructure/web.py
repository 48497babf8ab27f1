"""What a server shows over HTTP, wired together for whoever starts one: the API and the console."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from .bootstrap import LedgerHandle
from .console.app import Pages, console_services, make_console
from .console.services import Bounds, ConsoleServices
from .http.following import Following
from .http.server import Server, make_server_app, services_for
from .metrics.requests import ServerLoad


class Place(NamedTuple):
    """Where a server listens: `host` and `port`, the Unix socket `uds`, or both."""

    host: str | None
    port: int = 0
    uds: Path | None = None


class WebServer:
    """A server that runs."""

    def __init__(self, server: Server, host: str | None, pages: ConsoleServices) -> None:
        self._server = server
        self.operations = pages.operations
        """What goes on here beside requests."""
        self._host = host
        self._links = pages.links

    @property
    def url(self) -> str | None:
        """Where it listens, for people; None where only on a Unix socket."""
        return self._server.url

    @property
    def has_died(self) -> bool:
        """Whether it ended by itself."""
        return self._server.has_died

    def load(self) -> ServerLoad:
        """What it has to do just now."""
        return self._server.load()

    def login_link(self, name: str) -> str | None:
        """A link that logs whoever opens it into the console, once, as an administrator of this name. None where others
        than users of this machine could open it."""
        if self._host is None or not is_loopback(self._host):
            return None
        return f"{self.url}/login/link?token={self._links.make(name)}"


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_free(place: Place) -> bool:
    """Whether nobody listens there just now."""
    family = socket.AF_INET6 if ":" in (place.host or "") else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((place.host or "", place.port))
        except OSError:
            return False
    return True


@contextmanager
def serving(handle: LedgerHandle, place: Place) -> Iterator[WebServer]:
    """A server during the block; requests under way are finished at its end. Raises `InvalidSettings` where it cannot
    listen there."""
    with ExitStack() as closing:
        services = closing.enter_context(services_for(handle))
        bounds = Bounds(services.rates, services.failures)
        following = Following(services.feed, services.streams)
        pages = console_services(
            handle, services.authorization, services.authenticator, operations=services.operations,
            live_events=following, bounds=bounds,
        )  # fmt: skip
        app = make_server_app(services)
        app.router.routes.append(Pages(make_console(pages)))
        server = Server(app, host=place.host, port=place.port, uds=place.uds)
        closing.callback(server.close)
        server.start()
        yield WebServer(server, place.host, pages)
