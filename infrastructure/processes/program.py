"""Which program the child processes run: found in the worker, imported again in the zygote."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import NamedTuple

import structlog

from jobledger.application.app import App
from jobledger.application.declared_job import DeclaredJob
from jobledger.domain.errors import InvalidInput

from ..settings import Settings
from ..telemetry import configure_logging

_HINT = "declare the App and its handlers at the top level of a module that can be imported by its name"


class Program(NamedTuple):
    """What a zygote is told to import. `job_types` are those it must then know, with their payloads' fingerprints."""

    module: str
    attribute: str
    handler_modules: tuple[str, ...]
    job_types: dict[str, str]
    path: tuple[str, ...]
    """`sys.path`."""
    settings: Settings
    configures_logging: bool
    """Whether the worker's logs are configured; else the program's own code has to."""


def processed(app: App) -> dict[str, DeclaredJob]:
    """The job types of an app that run in child processes."""
    return {name: job for name, job in app.jobs.items() if job.definition.isolation == "process"}


def program_of(app: App, settings: Settings) -> Program:
    """How another process gets this app. `InvalidInput` where it cannot."""
    if not hasattr(os, "fork") or not hasattr(os, "waitid"):
        raise InvalidInput(
            'isolation="process" needs what this system does not have (fork, waitid)', field="isolation", rule="POSIX",
            hint='declare isolation="thread"',
        )  # fmt: skip
    jobs = processed(app)
    modules = tuple(sorted({_importable(_module_of(job), f"the handler of {name!r}") for name, job in jobs.items()}))
    module, attribute = _place_of(app, modules)
    return Program(
        module, attribute, modules, {name: job.payload_fingerprint for name, job in jobs.items()}, tuple(sys.path),
        settings, structlog.is_configured(),
    )  # fmt: skip


def load(program: Program) -> App:
    """Import the app, in a process that has not. Whatever its modules raise goes through."""
    sys.path[:] = program.path
    for name in program.handler_modules:
        import_module(name)
    app = getattr(import_module(program.module), program.attribute, None)
    if not isinstance(app, App):
        raise InvalidInput(
            f"{program.module}:{program.attribute} is no jobledger.App in a new process", field="isolation",
            rule="importing the module makes the App", hint=_HINT,
        )  # fmt: skip
    missing = [name for name, schema in program.job_types.items() if not _declares(app.jobs, name, schema)]
    if missing:
        raise InvalidInput(
            f"importing {program.module} in a new process does not declare {', '.join(missing)}", field="isolation",
            rule="importing the modules declares the job types", hint=_HINT,
        )  # fmt: skip
    if program.configures_logging and not structlog.is_configured():
        configure_logging(level=program.settings.log_level, form=program.settings.log_format)
    return app


def _declares(jobs: Mapping[str, DeclaredJob], name: str, fingerprint: str) -> bool:
    return name in jobs and jobs[name].payload_fingerprint == fingerprint


def _module_of(job: DeclaredJob) -> str:
    return str(getattr(job.handler, "__module__", None) or type(job.handler).__module__)


def _place_of(app: App, preferred: Iterable[str]) -> tuple[str, str]:
    """The module and the name under which the app can be found: where its handlers are, if possible, and only if need
    be in the main module."""
    loaded = dict(sys.modules)
    for name in [*preferred, *(name for name in loaded if name != "__main__"), "__main__"]:
        for attribute, value in list(getattr(loaded.get(name), "__dict__", {}).items()):
            if value is app:
                return _importable(name, f"the App {app.name!r}"), attribute
    raise InvalidInput(
        f"the App {app.name!r} is no global name of any module, so another process cannot import it",
        field="isolation", rule="an App with process jobs can be imported", hint=_HINT,
    )  # fmt: skip


def _importable(module: str, what: str) -> str:
    """The name to import a module by. That of the main module only where it was run with `python -m`."""
    if module != "__main__":
        return module
    specification = getattr(sys.modules["__main__"], "__spec__", None)
    if specification is None or specification.name.endswith(".__main__"):
        raise InvalidInput(
            f"{what} stands in the script that was started, so another process cannot import it by a name",
            field="isolation", rule="an App with process jobs can be imported", hint=_HINT,
        )  # fmt: skip
    return str(specification.name)
