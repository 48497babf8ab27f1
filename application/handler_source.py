"""What the source of a handler shows: which names it uses, what it calls, what it swallows.

Only the handler and the functions of its own module that it uses are read; services behind them are their own affair.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType, ModuleType

_FUNCTIONS_MAX = 50
_EVERYTHING = frozenset({"Exception", "BaseException"})
_LOGGING_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})


@dataclass(frozen=True, slots=True)
class HandlerSource:
    """The functions that were read. Empty where there is no source (for example in a REPL)."""

    functions: tuple[tuple[FunctionType, ast.AST], ...]

    @property
    def is_known(self) -> bool:
        """Whether there was any source to read."""
        return bool(self.functions)

    def modules_used(self) -> frozenset[str]:
        """The top-level packages that the functions use by name, or import themselves."""
        return frozenset(root for function, tree in self.functions for root in _roots(function, tree))

    def calls(self) -> frozenset[str]:
        """What is called, as it is spelled: `print`, `context.step`, `os.getenv`."""
        return frozenset(
            name for _, tree in self.functions for call in _calls(tree) if (name := _spelled(call.func)) is not None
        )

    def methods_called(self) -> frozenset[str]:
        """The last parts of what is called: `step`, `usage`, `getenv`."""
        return frozenset(name.rpartition(".")[2] for name in self.calls())

    def reads_environment(self) -> bool:
        """Whether `os.environ` or `os.getenv` is used."""
        attributes = [node for _, tree in self.functions for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        spelled = {_spelled(node) for node in attributes}
        return bool(spelled & {"os.environ", "os.getenv", "os.environb"})

    def changes_globals(self) -> bool:
        """Whether a function rebinds a module's variable."""
        return any(isinstance(node, ast.Global) for _, tree in self.functions for node in ast.walk(tree))

    def swallows_errors(self) -> bool:
        """Whether an `except` for everything neither raises nor looks at what it caught."""
        handlers = [n for _, tree in self.functions for n in ast.walk(tree) if isinstance(n, ast.ExceptHandler)]
        return any(_takes_everything(handler) and not _reacts(handler) for handler in handlers)

    def retries_itself(self) -> bool:
        """Whether a loop without end tries again what failed."""
        loops = [node for _, tree in self.functions for node in ast.walk(tree) if isinstance(node, ast.While)]
        return any(
            isinstance(loop.test, ast.Constant) and bool(loop.test.value)
            and any(isinstance(node, ast.Try) for node in ast.walk(loop))
            for loop in loops
        )  # fmt: skip

    def interpolates_logs(self) -> bool:
        """Whether a log line is an interpolated sentence instead of an event name and fields."""
        return any(
            isinstance(call.func, ast.Attribute) and call.func.attr in _LOGGING_METHODS
            and bool(call.args) and _is_interpolated(call.args[0])
            for _, tree in self.functions for call in _calls(tree)
        )  # fmt: skip

    def texts(self) -> Iterator[str]:
        """All texts written in the functions."""
        for _, tree in self.functions:
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def read_source(handler: Callable[..., object]) -> HandlerSource:
    """The source of a handler and of what it uses of its own module."""
    waiting, seen = [inspect.unwrap(handler)], dict[FunctionType, ast.AST]()
    while waiting and len(seen) < _FUNCTIONS_MAX:
        function = waiting.pop()
        if not isinstance(function, FunctionType) or function in seen:
            continue
        tree = _parsed(function)
        if tree is not None:
            seen[function] = tree
            waiting += [used for used in _used(function, tree) if isinstance(used, FunctionType)]
    return HandlerSource(tuple(seen.items()))


def _parsed(function: FunctionType) -> ast.AST | None:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None
    found = next((n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)), None)
    return None if found is None else ast.Module(body=list(found.body), type_ignores=[])


def _used(function: FunctionType, tree: ast.AST) -> Iterator[object]:
    """The functions of the same module that are used by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            value = inspect.unwrap(found) if callable(found := function.__globals__.get(node.id)) else None
            if getattr(value, "__module__", None) == function.__module__:
                yield value


def _roots(function: FunctionType, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Name) and node.id in function.__globals__:
            value = function.__globals__[node.id]
            module = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            if isinstance(module, str):
                yield module.partition(".")[0].lstrip("_")


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _spelled(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = _spelled(node.value)
        return node.attr if base is None else f"{base}.{node.attr}"
    return None


def _takes_everything(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or (isinstance(handler.type, ast.Name) and handler.type.id in _EVERYTHING)


def _reacts(handler: ast.ExceptHandler) -> bool:
    nodes = [node for statement in handler.body for node in ast.walk(statement)]
    looks = handler.name is not None and any(isinstance(n, ast.Name) and n.id == handler.name for n in nodes)
    return looks or any(isinstance(node, ast.Raise) for node in nodes)


def _is_interpolated(node: ast.expr) -> bool:
    if isinstance(node, ast.JoinedStr):
        return True
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr == "format"
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add)
