"""Flows carried out with httpx: by the thread that asks, or as a coroutine."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import AsyncExitStack, ExitStack, closing
from functools import partial
from typing import Any, TypeVar

import httpx

from .exchange import (
    END,
    Answer,
    Effect,
    Emit,
    Emits,
    Exchange,
    Flow,
    Open,
    Pause,
    Pull,
    ReadBytes,
    ReadLine,
    Request,
    Trouble,
)
from .lines import Lines

T = TypeVar("T")

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_WRONG = (httpx.LocalProtocolError, httpx.UnsupportedProtocol)
Source = Iterable[T] | AsyncIterable[T]


def _trouble(error: httpx.RequestError) -> Trouble:
    return Trouble(
        f"{type(error).__name__} {error}".strip(), was_sent=not isinstance(error, _NEVER_SENT),
        is_lasting=isinstance(error, _WRONG),
    )  # fmt: skip


def _sent(http: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
    return http.build_request(
        request.method, request.path, params=request.parameters or None, headers=request.headers,
        content=request.content, timeout=request.timeout_seconds,
    )  # fmt: skip


def _answer(response: httpx.Response, content: bytes = b"") -> Answer:
    return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, content)


class Driver:
    """For threads. `pause` waits so many seconds."""

    def __init__(self, http: httpx.Client, pause: Callable[[float], object]) -> None:
        self._http = http
        self._pause = pause

    def run(self, flow: Flow[T]) -> T:
        """What a flow comes to. Its errors are raised."""
        with closing(flow):
            resume = partial(next, flow)
            while True:
                try:
                    effect = resume()
                except StopIteration as ended:
                    value: T = ended.value
                    return value
                resume = self._carried_out(flow, effect, None)

    def iterate(self, flow: Emits[T], source: Iterable[Any] = ()) -> Generator[T, None, None]:
        """What a flow hands out. Closing the generator ends the flow, and the stream that it reads."""
        with closing(flow), closing(_Reading(source)) as reading:
            resume = partial(next, flow)
            while True:
                try:
                    effect = resume()
                except StopIteration:
                    return
                if isinstance(effect, Emit):
                    yield effect.value
                    resume = partial(next, flow)
                else:
                    resume = self._carried_out(flow, effect, reading)

    def _carried_out(self, flow: Generator[Any, Any, Any], effect: Effect, reading: _Reading | None) -> partial[Any]:
        try:
            return partial(flow.send, self._done(effect, reading))
        except httpx.RequestError as error:
            return partial(flow.throw, _trouble(error))

    def _done(self, effect: Effect, reading: _Reading | None) -> object:
        match effect:
            case Exchange(request):
                response = self._http.send(_sent(self._http, request))
                return _answer(response, response.content)
            case Pause(seconds):
                return self._pause(seconds)
        assert reading is not None, "only iterations read streams and take items"
        match effect:
            case Open(request):
                return reading.open(self._http, _sent(self._http, request))
            case ReadLine():
                return reading.line()
            case ReadBytes():
                return reading.some()
            case Pull():
                return next(reading.source, END)


class _Reading:
    """The stream that an iteration has open, and the items that it takes."""

    def __init__(self, source: Iterable[Any]) -> None:
        self.source = iter(source)
        self._stream = ExitStack()
        self._lines = Lines()
        self._bytes: Iterator[bytes] = iter(())

    def open(self, http: httpx.Client, request: httpx.Request) -> Answer:
        self.close()
        response = http.send(request, stream=True)
        self._stream.callback(response.close)
        if response.status_code != 200:
            return _answer(response, response.read())
        self._lines, self._bytes = Lines(), response.iter_bytes()
        return _answer(response)

    def line(self) -> str | None:
        while (line := self._lines.take()) is None:
            content = next(self._bytes, None)
            if content is None:
                return None
            self._lines.feed(content)
        return line

    def some(self) -> bytes | None:
        return next(self._bytes, None)

    def close(self) -> None:
        self._stream.close()


class AsyncDriver:
    """For coroutines, all of one event loop."""

    def __init__(self, http: httpx.AsyncClient, pause: Callable[[float], Awaitable[object]]) -> None:
        self._http = http
        self._pause = pause

    async def run(self, flow: Flow[T]) -> T:
        """As `Driver.run`."""
        with closing(flow):
            resume = partial(next, flow)
            while True:
                try:
                    effect = resume()
                except StopIteration as ended:
                    value: T = ended.value
                    return value
                resume = await self._carried_out(flow, effect, None)

    async def iterate(self, flow: Emits[T], source: Source[Any] = ()) -> AsyncGenerator[T, None]:
        """As `Driver.iterate`; items may come from an asynchronous iterable, too."""
        with closing(flow):
            async with _AsyncReading(source) as reading:
                resume = partial(next, flow)
                while True:
                    try:
                        effect = resume()
                    except StopIteration:
                        return
                    if isinstance(effect, Emit):
                        yield effect.value
                        resume = partial(next, flow)
                    else:
                        resume = await self._carried_out(flow, effect, reading)

    async def _carried_out(
        self, flow: Generator[Any, Any, Any], effect: Effect, reading: _AsyncReading | None
    ) -> partial[Any]:
        try:
            return partial(flow.send, await self._done(effect, reading))
        except httpx.RequestError as error:
            return partial(flow.throw, _trouble(error))

    async def _done(self, effect: Effect, reading: _AsyncReading | None) -> object:
        match effect:
            case Exchange(request):
                response = await self._http.send(_sent(self._http, request))
                return _answer(response, response.content)
            case Pause(seconds):
                return await self._pause(seconds)
        assert reading is not None, "only iterations read streams and take items"
        match effect:
            case Open(request):
                return await reading.open(self._http, _sent(self._http, request))
            case ReadLine():
                return await reading.line()
            case ReadBytes():
                return await reading.some()
            case Pull():
                return await anext(reading.source, END)


class _AsyncReading:
    """As `_Reading`."""

    def __init__(self, source: Source[Any]) -> None:
        self.source = aiter(source) if isinstance(source, AsyncIterable) else _asynchronous(source)
        self._stream = AsyncExitStack()
        self._lines = Lines()
        self._bytes: AsyncIterator[bytes] = _asynchronous(())

    async def open(self, http: httpx.AsyncClient, request: httpx.Request) -> Answer:
        await self._stream.aclose()
        response = await http.send(request, stream=True)
        self._stream.push_async_callback(response.aclose)
        if response.status_code != 200:
            return _answer(response, await response.aread())
        self._lines, self._bytes = Lines(), response.aiter_bytes()
        return _answer(response)

    async def line(self) -> str | None:
        while (line := self._lines.take()) is None:
            content = await anext(self._bytes, None)
            if content is None:
                return None
            self._lines.feed(content)
        return line

    async def some(self) -> bytes | None:
        return await anext(self._bytes, None)

    async def __aenter__(self) -> _AsyncReading:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stream.aclose()


async def _asynchronous(items: Iterable[T]) -> AsyncGenerator[T, None]:
    for item in items:
        yield item
