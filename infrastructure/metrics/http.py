"""A small HTTP server for probes and scrapes: one thread, whatever its clients do.

A client that sends nothing, garbage, or reads nothing costs a socket for a few seconds, and never a thread.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from threading import Event, Thread
from typing import NamedTuple

import structlog

from jobledger.domain.errors import InvalidSettings

CONNECTIONS_MAX = 64
"""Beyond that the oldest connection is cut."""
REQUEST_SECONDS_MAX = 5.0
"""For the whole request to arrive, and again for the answer to be taken."""
REQUEST_BYTES_MAX = 16_384
_START_SECONDS = 10.0

_log = structlog.get_logger("jobledger.metrics")


class Response(NamedTuple):
    """What a route answers."""

    status: HTTPStatus
    content_type: str
    body: bytes


Route = Callable[[Mapping[str, str]], Response]
"""Answers a GET; given the request's headers, their names in lower case. Called on a thread where it may wait."""


class HttpServer:
    """Serves routes by path from `start` to `close`."""

    def __init__(self, host: str, port: int, routes: Mapping[str, Route]) -> None:
        """Port 0 takes any that is free; `port` tells which."""
        self._host = host
        self.port = port
        self._routes = dict(routes)
        self._workers = {path: ThreadPoolExecutor(1, f"jobledger-http{path.replace('/', '-')}") for path in routes}
        self._open: dict[asyncio.StreamWriter, None] = {}
        self._listening: socket.socket | None = None
        self._loop = asyncio.new_event_loop()
        self._started = Event()
        self._thread = Thread(target=self._run, name="jobledger-http", daemon=True)

    def start(self) -> None:
        """Listen. `InvalidSettings` where host and port cannot be listened on."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            listening = socket.create_server((self._host, self.port), family=family)
        except OSError as error:
            raise InvalidSettings(
                f"cannot listen on {self._host}:{self.port}: {error.strerror or error}",
                field="JOBLEDGER_METRICS_PORT", rule="a port that is free, of an address of this machine",
                hint="another worker on this machine may have it: give each its own port",
            ) from error  # fmt: skip
        self.port = listening.getsockname()[1]
        self._listening = listening
        os.register_at_fork(after_in_child=self._leave_to_parent)
        self._thread.start()
        self._started.wait(_START_SECONDS)

    def close(self) -> None:
        """Listen no more; answers under way are cut."""
        if self._thread.is_alive():
            with suppress(RuntimeError):  # it ended by itself
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_START_SECONDS)
        for worker in self._workers.values():
            worker.shutdown(wait=False, cancel_futures=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{self.port}"

    def _leave_to_parent(self) -> None:
        """In a forked child: a port that it held open would be taken when the worker starts anew."""
        if self._listening is not None:
            self._listening.close()

    # --- on the server's thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            server = self._loop.run_until_complete(
                asyncio.start_server(self._serve, sock=self._listening, limit=REQUEST_BYTES_MAX)
            )
            self._started.set()
            self._loop.run_forever()
            server.close()
            self._cut_all()
        finally:
            self._started.set()
            self._loop.close()
            self._listening = None

    def _cut_all(self) -> None:
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = None
        if len(self._open) > CONNECTIONS_MAX:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        try:
            response = await self._answer(reader)
            if response is not None:
                writer.write(_encoded(response))
                await asyncio.wait_for(writer.drain(), REQUEST_SECONDS_MAX)
                writer.close()
                await asyncio.wait_for(writer.wait_closed(), REQUEST_SECONDS_MAX)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the client left, or does not read
        except Exception as error:  # noqa: BLE001 - no request ends the server
            _log.warning("metrics.request_failed", error=repr(error))
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader) -> Response | None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_SECONDS_MAX)
        except TimeoutError:
            return _said(HTTPStatus.REQUEST_TIMEOUT)
        except asyncio.IncompleteReadError as error:
            return _said(HTTPStatus.BAD_REQUEST) if error.partial else None
        except asyncio.LimitOverrunError:
            return _said(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        return await self._route(head)

    async def _route(self, head: bytes) -> Response:
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _said(HTTPStatus.BAD_REQUEST)
        method, target, _ = words
        route = self._routes.get(target.partition("?")[0])
        if route is None:
            return _said(HTTPStatus.NOT_FOUND)
        if method not in {"GET", "HEAD"}:
            return _said(HTTPStatus.METHOD_NOT_ALLOWED)
        headers = dict(_header(line) for line in lines[1:] if ":" in line)
        worker = self._workers[target.partition("?")[0]]
        try:
            response = await self._loop.run_in_executor(worker, route, headers)
        except Exception as error:  # noqa: BLE001 - told to the client, and to the log
            _log.warning("metrics.route_failed", path=target, error=repr(error))
            response = _said(HTTPStatus.INTERNAL_SERVER_ERROR)
        return response._replace(body=b"") if method == "HEAD" else response


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()


def _said(status: HTTPStatus) -> Response:
    return Response(status, "text/plain; charset=utf-8", f"{status.phrase}\n".encode())


def _encoded(response: Response) -> bytes:
    head = (
        f"HTTP/1.1 {response.status.value} {response.status.phrase}\r\nContent-Type: {response.content_type}\r\n"
        f"Content-Length: {len(response.body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + response.body
