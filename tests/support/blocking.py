"""An asynchronous client as one for threads, so that the same tests run with both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, cast

from jobledger.client import AsyncClient, Client
from jobledger.infrastructure.client.asynchronous import AsyncPart


def blocking(runner: asyncio.Runner, client: AsyncClient) -> Client:
    """What waits for everything that the client does."""
    return cast("Client", _Blocking(runner, client))


class _Blocking:
    def __init__(self, runner: asyncio.Runner, part: AsyncPart) -> None:
        self._runner = runner
        self._part = part

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the client has
        return self._waited_for(getattr(self._part, name))

    def _waited_for(self, found: object) -> object:
        if isinstance(found, AsyncPart):
            return _Blocking(self._runner, found)
        return self._method(found) if callable(found) else found

    def _method(self, method: Callable[..., object]) -> Callable[..., object]:
        def called(*args: object, **kwargs: object) -> object:
            answer = method(*args, **kwargs)
            if isinstance(answer, Coroutine):
                return self._runner.run(answer)
            return self._items(answer) if isinstance(answer, AsyncGenerator) else self._waited_for(answer)

        return called

    def _items(self, items: AsyncGenerator[Any, None]) -> Generator[Any, None, None]:
        async def following() -> tuple[Any, ...]:
            async for item in items:
                return (item,)
            return ()

        try:
            while found := self._runner.run(following()):
                yield found[0]
        finally:
            self._runner.run(items.aclose())
