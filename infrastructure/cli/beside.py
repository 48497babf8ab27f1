"""The HTTP API and the console beside a worker: what `up` serves, and what it says of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import structlog
import typer
from rich.text import Text

from jobledger.domain.errors import InvalidSettings

from ..bootstrap import LedgerHandle
from ..identities import ensure_admin_key
from ..settings import Settings
from .output import console

if TYPE_CHECKING:
    from ..web import Place, WebServer

_LIBRARIES = ("fastapi", "uvicorn", "jinja2", "python_multipart")

Host = Annotated[str | None, typer.Option("--host", help="The address to listen on.", show_default=False)]
Port = Annotated[int | None, typer.Option("--port", help="The port; 0 takes any that is free.", show_default=False)]

_log = structlog.get_logger("jobledger")


@contextmanager
def serving_beside(handle: LedgerHandle, settings: Settings) -> Iterator[WebServer | None]:
    """A server during the block, on the port of the settings or, where nobody chose one and that is taken, on any. None
    where what it needs is not installed and nobody asked for a port."""
    is_chosen = "http_port" in settings.model_fields_set
    if is_chosen:
        require_server()
    elif _missing():
        _log.info("up.no_http", hint="pip install 'jobledger[server]' for the HTTP API and the console")
        yield None
        return
    from ..web import Place, serving  # noqa: PLC0415 - a worker alone needs none of it

    chosen = Place(settings.http_host, settings.http_port)
    with serving(handle, chosen if is_chosen else _free(chosen)) as server:
        yield server


def require_server() -> None:
    """Raise `InvalidSettings` where what a server needs is not installed."""
    if missing := _missing():
        raise InvalidSettings(
            f"the HTTP API needs what is not installed: {', '.join(missing)}", rule="needs the extra `server`",
            hint="pip install 'jobledger[server]'",
        )  # fmt: skip


def _missing() -> list[str]:
    return [name for name in _LIBRARIES if find_spec(name) is None]


def show_first_key(key: str | None) -> None:
    """Show the key of a first start; it stands nowhere else."""
    if key is not None:
        said = "The first key of this installation, shown this once (it may do everything):"
        console().print(f"{said} [bold]{key}[/]", soft_wrap=True)


def show_console(server: WebServer, handle: LedgerHandle, *, as_json: bool) -> None:
    """Show the key of a first start and, to whoever may open it, a link into the console. Neither is logged."""
    show_first_key(ensure_admin_key(handle))
    link = server.login_link(handle.settings.acting.name)
    if link is not None and not as_json:
        said = Text.assemble("Open the console (once, within 10 minutes): ", (link, "bold"))
        console().print(said, soft_wrap=True)


def _free(place: Place) -> Place:
    """The place, or any port of its address where that one is taken."""
    from ..web import is_free  # noqa: PLC0415

    if is_free(place):
        return place
    _log.warning("up.port_taken", port=place.port, hint="another one is used; choose with --port")
    return place._replace(port=0)
