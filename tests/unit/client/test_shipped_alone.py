"""The client works where nothing else of jobledger's dependencies is installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import jobledger.client
import jobledger.testing

ALLOWED = ("pydantic", "httpx")

_CODE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is not installed", name=name)

sys.meta_path.insert(0, Blocked())
try:
    import fastapi
except ImportError:
    print("blocked")
{body}
"""


def everything_but(*libraries: str) -> set[str]:
    """The modules of all that is installed here, but for libraries and what they need."""
    known, waiting = {"jobledger"}, list(libraries)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in known:
            known.add(name)
            needed = [Requirement(text) for text in requires(name) or ()]
            waiting += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return {
        module
        for module, distributions in packages_distributions().items()
        if not known & {canonicalize_name(each) for each in distributions}
    }


def run(body: str, blocked: set[str] | None = None) -> list[str]:
    """The output of a program in an interpreter that has only what the client needs, or all but what is `blocked`."""
    code = _CODE.format(blocked=everything_but(*ALLOWED) if blocked is None else blocked, body=body)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_what_is_not_needed_is_blocked() -> None:
    """Or these tests would prove nothing."""
    blocked = everything_but(*ALLOWED)
    assert {"eventsourcing", "psycopg", "structlog", "typer", "rich", "fastapi", "opentelemetry"} <= blocked
    assert not {"httpx", "pydantic", "pydantic_core", "anyio", "jobledger"} & blocked


def test_it_is_imported_without_anything_of_the_server() -> None:
    """With pydantic and httpx alone; nothing of the server's packages is loaded."""
    loaded = (
        "import jobledger.client\n"
        "print(*sorted({'.'.join(name.split('.')[:3]) for name in sys.modules if name.startswith('jobledger.')}))"
    )
    blocked, modules = run(loaded)
    assert blocked == "blocked"
    assert set(modules.split()) == {
        "jobledger.client", "jobledger.infrastructure", "jobledger.infrastructure.api",
        "jobledger.infrastructure.client",
    }  # fmt: skip


@pytest.mark.parametrize("manner", ["threads", "coroutines"])
def test_it_asks_and_reads(manner: str) -> None:
    """A dispatch and a list, to the end."""
    body = (
        "import asyncio, httpx, json\n"
        "from jobledger.client import AsyncClient, Client\n"
        "job = {'job_id': '0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f', 'duplicate': False, 'position': 'p.1'}\n"
        "def answer(request):\n"
        "    return httpx.Response(201, json=job) if request.method == 'POST' else httpx.Response(200, json="
        "{'tenants': []})\n"
        "transport = httpx.MockTransport(answer)\n"
    )
    if manner == "threads":
        body += (
            "with Client('http://a', 'k', tenant='acme', http=httpx.Client(transport=transport)) as client:\n"
            "    print(client.dispatch('a', {'number': 1}).position, client.tenants.list())\n"
        )
    else:
        body += (
            "async def main():\n"
            "    http = httpx.AsyncClient(transport=transport)\n"
            "    async with AsyncClient('http://a', 'k', tenant='acme', http=http) as client:\n"
            "        print((await client.dispatch('a', {'number': 1})).position, await client.tenants.list())\n"
            "asyncio.run(main())\n"
        )
    assert run(body) == ["blocked", "p.1 []"]


def test_the_fakes_need_no_server() -> None:
    """What a server is made of is not needed to imitate one."""
    body = (
        "from jobledger import App, JobContext\n"
        "from jobledger.testing import FakeClient\n"
        "app = App('shop')\n"
        "def handler(context: JobContext, payload: dict[str, str]) -> str: return payload['text']\n"
        "app.job('note.take', effects='none', timeout_seconds=9)(handler)\n"
        "client = FakeClient(app, tenant='acme')\n"
        "print(client.jobs.result(client.dispatch('note.take', {'text': 'taken'}).job_id).result)\n"
    )
    assert run(body, {"fastapi", "starlette", "uvicorn", "jinja2", "joserfc", "psycopg"}) == ["blocked", "taken"]


@pytest.mark.parametrize("module", ["client", "testing"])
def test_without_httpx_it_says_what_to_install(module: str) -> None:
    """In one line; whoever wants no client needs none."""
    name = "Client" if module == "client" else "FakeClient"
    body = (
        "import jobledger\n"
        "try:\n"
        f"    from jobledger.{module} import {name}\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error.name, error)\n"
    )
    assert run(body, {"fastapi", "httpx"}) == [
        "blocked", "httpx the client needs an extra: pip install 'jobledger[client]'"
    ]  # fmt: skip


@pytest.mark.parametrize("module", [jobledger.client, jobledger.testing], ids=lambda module: module.__name__)
def test_every_public_name_is_there(module: ModuleType) -> None:
    """What `__all__` promises can be had; other names are told as missing."""
    assert all(getattr(module, name) is not None for name in module.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Klient'"):
        module.Klient  # noqa: B018
