"""A handler that forks leaves a copy of the whole worker behind: the copy must never go on as a second one.

It shares the worker's sockets and files with it, and none of its threads. So the copy ends as soon as it leaves the
handler's code, without cleaning up: what it would clean up is the worker's.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Generator
from typing import Any, Generic, NoReturn, TypeVar

T = TypeVar("T")


class Origin:
    """A process, told apart from the copies of it: a program may well have forked before it began to work."""

    __slots__ = ()

    @property
    def is_copy(self) -> bool:
        """Whether the process that asks is a copy of this one."""
        return _Here.origin is not self

    def end_copy(self, error: BaseException | None = None) -> None:
        """End the process that asks if it is a copy; `error` is what the handler raised in it."""
        if _Here.origin is not self:
            _exit(error)


class _Here:
    origin = Origin()


def this_process() -> Origin:
    """The process that asks."""
    return _Here.origin


def _became_a_copy() -> None:
    _Here.origin = Origin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_became_a_copy)


class EndsCopies(Generic[T]):
    """Awaits a coroutine, and looks after each of its steps whether it forked: a copy of an event loop would run the
    tasks of all other jobs as well."""

    def __init__(self, awaitable: Awaitable[T], origin: Origin) -> None:
        self._awaitable = awaitable
        self._origin = origin

    def __await__(self) -> Generator[Any, Any, T]:
        """What awaiting the coroutine gives."""
        steps = self._awaitable.__await__()
        step, argument = getattr(steps, "send", lambda _: next(steps)), None
        while True:
            self._origin.end_copy()
            try:
                waits_for = step(argument)
            except StopIteration as end:
                self._origin.end_copy()
                result: T = end.value
                return result
            except BaseException as error:
                self._origin.end_copy(error)
                raise
            self._origin.end_copy()
            try:
                argument, step = (yield waits_for), getattr(steps, "send", lambda _: next(steps))
            except BaseException as error:  # noqa: BLE001 - it is for the coroutine
                argument, step = error, getattr(steps, "throw", _raise)


def _raise(error: BaseException) -> NoReturn:
    raise error


def _exit(error: BaseException | None) -> NoReturn:
    code = error.code if isinstance(error, SystemExit) else None if error is None else 1
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)
