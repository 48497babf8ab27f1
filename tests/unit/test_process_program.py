"""How the child processes of a worker get its program, and what a declaration may say about them."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from pydantic import BaseModel

from jobledger import App, JobContext
from jobledger.domain.errors import InvalidInput
from jobledger.infrastructure.processes.program import Program, load, program_of
from jobledger.infrastructure.settings import Settings
from tests.support import process_app


class Payload(BaseModel):
    """Anything."""


def found(app: App) -> Program:
    """How another process gets an app."""
    return program_of(app, Settings())


def in_module(monkeypatch: pytest.MonkeyPatch, name: str, app: App) -> None:
    """Make a module that holds the app and its handlers."""
    module = ModuleType(name)
    vars(module)["program"] = app
    monkeypatch.setitem(sys.modules, name, module)
    for job in app.jobs.values():
        monkeypatch.setattr(job.handler, "__module__", name)


def an_app() -> App:
    """With one job for a process, and one that needs none."""
    app = App("tested", code_version="1")

    @app.job("tested.process", effects="none", isolation="process")
    def process(_context: JobContext, _payload: Payload) -> None: ...

    @app.job("tested.thread", effects="none")
    def thread(_context: JobContext, _payload: Payload) -> None: ...

    return app


def test_an_app_is_found_where_its_handlers_are() -> None:
    """Module, name, and the modules whose import declares the process jobs."""
    program = found(process_app.app)
    assert (program.module, program.attribute) == ("tests.support.process_app", "app")
    assert program.handler_modules == ("tests.support.process_app",)
    assert "child.echo" in program.job_types and "thread.echo" not in program.job_types
    assert load(program) is process_app.app


def test_the_modules_of_all_process_handlers_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app in one module, its handlers in another: importing the app alone would declare nothing."""
    app = an_app()
    in_module(monkeypatch, "tested_app_module", app)
    monkeypatch.setitem(sys.modules, "tested_handlers_module", ModuleType("tested_handlers_module"))
    monkeypatch.setattr(app.jobs["tested.process"].handler, "__module__", "tested_handlers_module")
    program = found(app)
    assert program.handler_modules == ("tested_handlers_module",)
    assert (program.module, program.attribute) == ("tested_app_module", "program")


def test_an_app_in_a_script_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python program.py` gives its module no name to import; the hint says what to do."""
    app = an_app()
    in_module(monkeypatch, "__main__", app)
    vars(sys.modules["__main__"])["__spec__"] = None
    with pytest.raises(InvalidInput, match="script") as refused:
        found(app)
    assert "module" in (refused.value.hint or "")


def test_an_app_run_as_a_module_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m package.program` has one."""
    app = an_app()
    in_module(monkeypatch, "__main__", app)
    vars(sys.modules["__main__"])["__spec__"] = process_app.__spec__
    program = found(app)
    assert (program.module, program.attribute) == ("tests.support.process_app", "program")


def test_a_program_that_lacks_a_job_type_is_refused() -> None:
    """What importing does not declare, or declares with another payload, cannot run in a child."""
    program = found(process_app.app)
    for job_types in ({"child.unheard_of": "0"}, {"child.echo": "another payload"}):
        with pytest.raises(InvalidInput, match="does not declare child"):
            load(program._replace(job_types=job_types))


@pytest.mark.parametrize(("isolation", "memory_limit_mb"), [("thread", 100), ("process", 0)])
def test_a_memory_limit_is_for_processes(isolation: str, memory_limit_mb: int) -> None:
    """A thread shares its memory with all others; and nothing runs in none."""
    app = App("tested", code_version="1")
    with pytest.raises(InvalidInput) as refused:

        @app.job("tested.one", effects="none", isolation=isolation, memory_limit_mb=memory_limit_mb)  # type: ignore[arg-type]
        def handler(_context: JobContext, _payload: Payload) -> None: ...

    assert refused.value.field == "memory_limit_mb"
