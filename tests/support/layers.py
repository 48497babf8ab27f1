"""The import rules of the four layers, read from a file's imports without running it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import PurePosixPath

LAYERS = ("domain", "application", "projections", "infrastructure")
ADAPTERS = ("postgres", "sqlite", "http", "console", "cli")

_MAY_IMPORT = {
    "domain": (),
    "application": ("domain",),
    "projections": ("domain",),
    "infrastructure": ("domain", "application", "projections"),
}
_DOMAIN_LIBRARIES = ("eventsourcing", "pydantic")
_ONLY_IN = {
    "psycopg": ("infrastructure/postgres",),
    "psycopg_pool": ("infrastructure/postgres",),
    "eventsourcing.postgres": ("infrastructure/postgres",),
    "sqlite3": ("infrastructure/sqlite",),
    "eventsourcing.sqlite": ("infrastructure/sqlite",),
    "prometheus_client": ("infrastructure/metrics",),
    "fastapi": ("infrastructure/http", "infrastructure/console"),
    "starlette": ("infrastructure/http", "infrastructure/console"),
}
_SHIPPED_ALONE = {
    "infrastructure/api": (("jobledger.infrastructure.api",), ("pydantic", "pydantic_core")),
    "infrastructure/client": (
        ("jobledger.infrastructure.api", "jobledger.infrastructure.client"),
        ("httpx", "pydantic", "pydantic_core"),
    ),
}
"""What programs use that have nothing else of the server: the packages and the libraries that it may import."""
_ENVIRONMENT_READER = "infrastructure/settings.py"
_ENVIRONMENT = ("environ", "environb", "getenv", "getenvb")


def violations(path: str, source: str) -> list[str]:
    """What the file breaks, one line each; `path` is relative to the root of the repository, with slashes."""
    tree = ast.parse(source)
    broken: list[str] = []
    for line, module, relative in _imports(path, tree):
        broken += [f"{path}:{line}: {rule}" for rule in _broken_rules(path, module, relative)]
    broken += [f"{path}:{line}: only {_ENVIRONMENT_READER} reads the environment" for line in _reads(path, tree)]
    return broken


def _imports(path: str, tree: ast.Module) -> Iterator[tuple[int, str, bool]]:
    """(line, absolute module, written relatively) of every import, those under TYPE_CHECKING included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(path, node.level, node.module)
            # `from jobledger import domain` and `from . import postgres` name a module behind the import.
            yield from ((node.lineno, f"{base}.{alias.name}", node.level > 0) for alias in node.names)


def _absolute(path: str, level: int, module: str | None) -> str:
    if level == 0:
        return module or ""
    package = ["jobledger", *PurePosixPath(path).parts[:-1]]
    above = package[: len(package) - (level - 1)]
    return ".".join([*above, *([module] if module else [])])


def _broken_rules(path: str, module: str, relative: bool) -> Iterator[str]:
    names = module.split(".")
    if names[0] in LAYERS and not relative:
        yield f"bare layer name {names[0]}: write jobledger.{names[0]}"
    layer = PurePosixPath(path).parts[0]
    if layer not in LAYERS:
        return
    yield from _alone_rules(path, module)
    yield from _library_rules(path, layer, module)
    if names[0] == "jobledger":
        yield from _layer_rules(layer, names, relative)
        yield from _adapter_rules(path, names)


def _library_rules(path: str, layer: str, module: str) -> Iterator[str]:
    for library, places in _ONLY_IN.items():
        if _is_or_below(module, library) and not any(path.startswith(f"{place}/") for place in places):
            yield f"{library} belongs in {' or '.join(places)}"
    root = module.partition(".")[0]
    if layer == "domain" and root not in {"jobledger", *_DOMAIN_LIBRARIES, *sys.stdlib_module_names}:
        yield f"domain may not import {root}"


def _alone_rules(path: str, module: str) -> Iterator[str]:
    for place, (packages, libraries) in _SHIPPED_ALONE.items():
        if path.startswith(f"{place}/"):
            known = any(_is_or_below(module, package) for package in packages)
            root = module.partition(".")[0]
            if not known and root not in {*libraries, *sys.stdlib_module_names}:
                yield f"{place} may not import {module}: it is shipped without it"


def _layer_rules(layer: str, names: list[str], relative: bool) -> Iterator[str]:
    target = names[1] if len(names) > 1 else ""
    if target == layer:
        if not relative:
            yield "inside a layer imports are relative"
    elif target not in _MAY_IMPORT[layer]:
        yield f"{layer} may not import jobledger.{target}"
    elif relative:
        yield "across layers imports are absolute"


def _adapter_rules(path: str, names: list[str]) -> Iterator[str]:
    parts = PurePosixPath(path).parts
    if names[1:2] != ["infrastructure"] or len(names) < 3 or parts[:1] != ("infrastructure",):
        return
    if parts[1] in ADAPTERS and names[2] in ADAPTERS and names[2] != parts[1]:
        yield f"adapters never import each other: {parts[1]} imports {names[2]}"


def _reads(path: str, tree: ast.Module) -> Iterator[int]:
    if path == _ENVIRONMENT_READER or PurePosixPath(path).parts[0] not in LAYERS:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            if node.attr in _ENVIRONMENT:
                yield node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (node.lineno for alias in node.names if alias.name in _ENVIRONMENT)


def _is_or_below(module: str, library: str) -> bool:
    return module == library or module.startswith(f"{library}.")
