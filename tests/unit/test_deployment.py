"""compose.yaml and Dockerfile, checked against the CLI and the settings: no container engine runs in the tests."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import typer
import yaml
from pydantic import BaseModel, ConfigDict, Field

from jobledger.infrastructure.cli.main import build
from jobledger.infrastructure.settings import Settings
from tests.support.command_line import parse
from tests.support.repository import ROOT

APP = build()
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


class Healthcheck(BaseModel):
    test: list[str] = Field(default_factory=list)
    disable: bool = False


class Dependency(BaseModel):
    condition: str


class Service(BaseModel):
    """The parts of a compose service that the tests look at."""

    model_config = ConfigDict(extra="ignore")

    image: str
    command: list[str] = Field(default_factory=list)
    environment: dict[str, str]
    healthcheck: Healthcheck
    depends_on: dict[str, Dependency] = Field(default_factory=dict)
    volumes: list[str] = Field(default_factory=list)


class Compose(BaseModel):
    model_config = ConfigDict(extra="ignore")

    services: dict[str, Service]
    volumes: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def compose() -> Compose:
    return Compose.model_validate(yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8")))


def instructions(name: str) -> list[str]:
    """The arguments of every Dockerfile instruction of that name, in order."""
    return re.findall(rf"^{name} +(.*)$", DOCKERFILE, re.MULTILINE)


def image_command(instruction: str) -> list[str]:
    """The words of an instruction's last JSON array."""
    words = json.loads(instructions(instruction)[-1].partition("CMD ")[2] or instructions(instruction)[-1])
    assert isinstance(words, list)
    return [str(word) for word in words]


def jobledger_commands(compose: Compose) -> Iterator[list[str]]:
    """Every command line of jobledger that the files run, without the program's name."""
    yield image_command("CMD")
    yield image_command("HEALTHCHECK")[1:]
    for name, service in compose.services.items():
        if name != "postgres":
            yield service.command
            yield from [service.healthcheck.test[2:]] if service.healthcheck.test[1:2] == ["jobledger"] else []


def test_every_command_is_one_of_the_cli(compose: Compose) -> None:
    """Each command that an image or a service runs exists, with its options."""
    commands = list(jobledger_commands(compose))
    assert ["migrate"] in commands
    assert ["migrate", "--check"] in commands
    for words in commands:
        assert parse(APP, words)


def test_a_server_is_asked_whether_it_is_ready(compose: Compose) -> None:
    """On the port that it listens on, by Python that runs as it is written there."""
    serve = compose.services["serve"]
    port = serve.command[serve.command.index("--port") + 1]
    *program, code = serve.healthcheck.test
    assert program == ["CMD", "python", "-c"]
    ast.parse(code)
    assert f"http://127.0.0.1:{port}/readyz" in code


def test_an_unknown_option_would_be_noticed() -> None:
    """The check of command lines does fail for what the CLI does not know."""
    with pytest.raises(KeyError):
        parse(APP, ["no-such-command"])
    with pytest.raises(Exception, match="--no-such-option"):
        parse(APP, ["migrate", "--no-such-option"])
    assert isinstance(APP, typer.Typer)


def test_the_app_that_runs_exists(compose: Compose) -> None:
    """The module that `--app` names is copied into the image and defines that name."""
    for words in (image_command("CMD"), compose.services["up"].command):
        module, _, name = words[words.index("--app") + 1].partition(":")
        path = ROOT.joinpath(*module.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert name in defined_names(file.read_text(encoding="utf-8"))
        assert f"COPY {module.partition('.')[0]} /srv/jobledger/apps/" in DOCKERFILE


def defined_names(source: str) -> set[str]:
    """The names that a module assigns or imports at its top."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def test_every_variable_is_a_setting(compose: Compose) -> None:
    """Each JOBLEDGER_* variable of the files is a field of the settings."""
    text = DOCKERFILE + (ROOT / "compose.yaml").read_text(encoding="utf-8")
    names = set(re.findall(r"\bJOBLEDGER_[A-Z_]+", text))
    assert "JOBLEDGER_DATABASE" in names
    assert {name.removeprefix("JOBLEDGER_").lower() for name in names} <= set(Settings.model_fields)


def test_the_services_reach_their_database(compose: Compose) -> None:
    """The database's URL names the service, its standard port, its user, its password and its database."""
    database = compose.services["postgres"]
    for name in ("migrate", "up"):
        text = compose.services[name].environment["JOBLEDGER_DATABASE"]
        url = urlsplit(re.sub(r"\$\{[^}]*\}", "PASSWORD", text))
        assert (url.scheme, url.hostname, url.port) == ("postgresql", "postgres", 5432)
        assert (url.username, url.path) == (database.environment["POSTGRES_USER"], "/jobledger")
        assert database.environment["POSTGRES_DB"] == "jobledger"
        assert database.environment["POSTGRES_PASSWORD"] in text


def test_the_order_of_starting(compose: Compose) -> None:
    """The schema is made once the database answers, and work begins once the schema is there."""
    assert compose.services["migrate"].depends_on["postgres"].condition == "service_healthy"
    assert compose.services["up"].depends_on["migrate"].condition == "service_completed_successfully"
    assert compose.services["postgres"].healthcheck.test[1] == "pg_isready"


def test_the_database_is_recent_and_kept() -> None:
    """PostgreSQL is 16 or newer, and its data outlive the container."""
    compose = Compose.model_validate(yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8")))
    database = compose.services["postgres"]
    assert int(database.image.partition(":")[2]) >= 16
    assert database.volumes[0].partition(":")[0] in compose.volumes


def test_the_image_runs_without_rights() -> None:
    """The last stage brings no build tools, drops root, and names the program that pyproject.toml installs."""
    assert len(instructions("FROM")) == 2
    final = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert re.search(r"^USER [1-9]\d*$", final, re.MULTILINE)
    assert "pip install" not in final
    assert "\nHEALTHCHECK " in final
    assert image_command("ENTRYPOINT") == ["jobledger"]


def test_what_the_image_copies_is_there() -> None:
    """Every path that a build copies stands in the repository and is let through by .dockerignore."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [words.split()[:-1] for words in instructions("COPY") if not words.startswith("--from")]
    sources = [source for words in copied for source in words]
    assert {"domain", "application", "projections", "infrastructure", "src"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored


def test_the_build_uses_the_makefiles_uv() -> None:
    """Image and Makefile install the same version of uv, which is the one of the lock file."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    version = re.search(r"^UV_VERSION := (\S+)$", makefile, re.MULTILINE)
    assert version is not None
    assert instructions("ARG")[0] == f"UV_VERSION={version[1]}"
    assert f'"uv=={version[1]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
