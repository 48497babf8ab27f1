"""The console's pages: tenant A, logged in, asks for what is B's, and sees what is shown of what is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import httpx
import pytest

from jobledger.infrastructure.console.app import make_console

from .application_routes import routes_of
from .asking import Ask, Names, Told, told
from .routes import Foreign, Nobodys, Own, Row
from .world import MARKER, B, World

_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
_IN, _OWN = "/tenants/{their.tenant}", "/tenants/{own.tenant}"
_ERROR: Final = {"fingerprint": "0123456789abcdef", "type": "text.keep", "queue": "{their.queue}"}


def _both(tail: str, **params: str) -> Foreign:
    return Foreign((Ask(_IN + tail, params=params), Ask(_OWN + tail, params=params)))


def _sent(tail: str, content: str) -> Foreign:
    asks = (Ask(place + tail, headers=_FORM, content=content) for place in (_IN, _OWN))
    return Foreign(tuple(asks))


PAGES: Final[Mapping[str, Row]] = {
    "GET /": Own(Ask("/")),
    "GET /tenants": Own(Ask("/tenants")),
    "GET /switch": Foreign((Ask("/switch", params={"tenant": "{their.tenant}"}),)),
    "GET /tenants/{tenant}/jobs": Foreign((Ask(f"{_IN}/jobs"), Ask(f"{_IN}/jobs", params={"queue": "{their.queue}"}))),
    "GET /tenants/{tenant}/jobs/live": Foreign((Ask(f"{_IN}/jobs/live"),)),
    "GET /tenants/{tenant}/live": Foreign((
        Ask(f"{_IN}/live"), Ask(f"{_IN}/live", params={"queue": "{their.queue}"}),
        Ask(f"{_IN}/live", params={"job": "{their.job}"}), Ask(f"{_OWN}/live", params={"job": "{their.job}"}),
    )),
    "GET /tenants/{tenant}/find": _both("/find", job="{their.job}"),
    "GET /tenants/{tenant}/jobs/{job}": _both("/jobs/{their.job}"),
    "GET /tenants/{tenant}/jobs/{job}/live": _both("/jobs/{their.job}/live"),
    "GET /tenants/{tenant}/jobs/{job}/edit": _both("/jobs/{their.dead}/edit"),
    "POST /tenants/{tenant}/jobs/{job}/edit": _sent("/jobs/{their.dead}/edit", "version=1&payload={{}}&reason=tried"),
    "POST /tenants/{tenant}/jobs/{job}/{act}": Foreign(tuple(
        ask for act in ("cancel", "requeue", "discard", "payload")
        for ask in _sent(f"/jobs/{{their.dead}}/{act}", "reason=tried").asks
    )),
    "GET /tenants/{tenant}/dlq": Foreign((Ask(f"{_IN}/dlq"),)),
    "GET /tenants/{tenant}/dlq/error": Foreign((Ask(f"{_IN}/dlq/error", params=_ERROR),)),
    "POST /tenants/{tenant}/dlq/error/{act}": Foreign((
        Ask(f"{_IN}/dlq/error/requeue", params=_ERROR, headers=_FORM, content="reason=tried&count=1"),
        Ask(f"{_IN}/dlq/error/discard", params=_ERROR, headers=_FORM, content="reason=tried&count=1"),
    )),
    "GET /tenants/{tenant}/dlq/acts/{act}": _both("/dlq/acts/{their.operation}"),
    "GET /tenants/{tenant}/dlq/acts/{act}/live": _both("/dlq/acts/{their.operation}/live"),
    "GET /login": Nobodys(Ask("/login"), "asks for a key"),
    "POST /login": Nobodys(Ask("/login", headers=_FORM, content="key=none"), "asks for a key"),
    "GET /login/link": Nobodys(Ask("/login/link"), "asks for a token that was shown once"),
    "POST /login/link": Nobodys(Ask("/login/link", headers=_FORM, content="token=x"), "asks for such a token"),
    "POST /logout": Nobodys(Ask("/logout", headers=_FORM, content=""), "ends one's own session"),
    "GET /welcome": Nobodys(Ask("/welcome"), "says whether one is logged in"),
    "GET /static/{name}": Nobodys(Ask("/static/console.css"), "files of the program"),
    "GET /favicon.ico": Nobodys(Ask("/favicon.ico"), "a file of the program"),
}  # fmt: skip
"""By method and path; see `routes.py` for what the rows say."""
_NOW = re.compile(r'data-now="[^"]+"')
"""The time at which a page was made."""
FOREIGN = {name: row for name, row in PAGES.items() if isinstance(row, Foreign)}


@contextmanager
def visitor(world: World) -> Iterator[httpx.Client]:
    """A browser in which A is logged in."""
    with httpx.Client(base_url=world.url, follow_redirects=False) as client:
        answered = client.post("/login", data={"key": world.keys["everything"]}, headers=_FORM)
        cookie = answered.headers["set-cookie"].partition(";")[0]
        client.headers["Cookie"] = cookie  # a browser keeps it: it takes this machine for safe
        client.headers.update({"X-Request-Id": "same", "Accept-Encoding": "identity"})  # pages show the id of an error
        yield client


def test_every_page_has_a_row() -> None:
    """A page that nobody thought of isolating does not get in."""
    pages = set(routes_of(make_console(None)))  # type: ignore[arg-type]  # nothing is asked of it
    missing, gone = sorted(pages - PAGES.keys()), sorted(PAGES.keys() - pages)
    assert not missing, f"say in tests/isolation/test_pages.py how tenant A asks there for B's things: {missing}"
    assert not gone, f"these pages of tests/isolation/test_pages.py are gone: take their rows out: {gone}"


@pytest.mark.parametrize("name", FOREIGN)
def test_a_page_of_theirs_is_as_absent(world: World, name: str) -> None:
    """Status, headers and page, but for the name that was asked."""
    method = name.split(maxsplit=1)[0]
    with visitor(world) as client:
        for ask in FOREIGN[name].asks:
            theirs, absent = (_seen(world, client, method, ask, names) for names in (world.theirs, world.absent))
            assert theirs == absent, ask
            assert theirs.status in (303, 400, 404, 409, 422), theirs
            assert MARKER not in theirs.body


def _seen(world: World, client: httpx.Client, method: str, ask: Ask, names: Names) -> Told:
    answer = told(ask.send(client, method, world.own, names), names)
    return replace(answer, body=_NOW.sub("", answer.body))


@pytest.mark.parametrize("path", ["/", "/tenants", "/tenants/acme/jobs"])
def test_ones_own_pages_show_nothing_of_theirs(world: World, path: str) -> None:
    """Neither their names nor anything that they keep."""
    with visitor(world) as client:
        answered = client.get(path, follow_redirects=True)
    assert answered.status_code == 200 and "acme" in answered.text
    assert MARKER not in answered.text and f">{B}<" not in answered.text
