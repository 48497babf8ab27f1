"""Finds the application that `--app` names, as `module` or `module:attribute`."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import ModuleType

from jobledger.application.app import App
from jobledger.domain.errors import InvalidSettings, JobledgerError

from ..settings import Settings

_DEFAULT_ATTRIBUTE = "app"


def load_app(reference: str | None, settings: Settings) -> App:
    """The application of `--app` or JOBLEDGER_APP; the working directory is searched for modules first.

    Raises InvalidSettings that says what is missing; the error of a module that fails to import is its cause.
    """
    chosen = reference or settings.app
    if chosen is None:
        raise _wrong("which application?", "say --app MODULE:ATTRIBUTE or set JOBLEDGER_APP")
    module_name, colon, attribute = chosen.partition(":")
    module = _module(module_name)
    found = getattr(module, attribute or _DEFAULT_ATTRIBUTE, None)
    if isinstance(found, App):
        return found
    apps = [name for name, value in vars(module).items() if isinstance(value, App)]
    if not colon and len(apps) == 1:
        return _of(module, apps[0])
    hint = f"it has: {', '.join(f'{module_name}:{name}' for name in apps)}" if apps else "it defines no jobledger.App"
    what = "is no jobledger.App" if found is not None else "does not exist"
    raise _wrong(f"{module_name}:{attribute or _DEFAULT_ATTRIBUTE} {what}", hint)


def _module(name: str) -> ModuleType:
    working_directory = str(Path.cwd())
    if working_directory not in sys.path:
        sys.path.insert(0, working_directory)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise _wrong(f"there is no module {name!r}", f"looked in {working_directory} and sys.path") from error
        raise _failing(name, error) from error
    except JobledgerError as error:
        raise _wrong(f"{name} declares something that breaks a rule: {error}", None) from error
    except Exception as error:
        raise _failing(name, error) from error


def _failing(name: str, error: Exception) -> InvalidSettings:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return _wrong(f"importing {name} failed: {type(error).__name__}: {error}", f"at {place.filename}:{place.lineno}")


def _of(module: ModuleType, name: str) -> App:
    app = getattr(module, name)
    assert isinstance(app, App)
    return app


def _wrong(message: str, hint: str | None) -> InvalidSettings:
    return InvalidSettings(message, field="--app", rule="must name a jobledger.App", hint=hint)
