"""The client works where nothing else of jobledger's dependencies is installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ALLOWED = ("pydantic", "httpx")

_CODE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root in {blocked!r}:
            raise ImportError(f"{{name}} is not installed")

sys.meta_path.insert(0, Blocked())
try:
    import structlog
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


def run(body: str) -> list[str]:
    """The output of a program in an interpreter that has only what the client needs."""
    code = _CODE.format(blocked=everything_but(*ALLOWED), body=body)
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
