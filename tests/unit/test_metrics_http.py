"""The small HTTP server of a worker, against clients that behave and clients that do not."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection

import pytest

from jobledger.domain.errors import InvalidSettings
from jobledger.infrastructure.metrics import http as module
from jobledger.infrastructure.metrics.http import CONNECTIONS_MAX, HttpServer, Response

TEXT = "text/plain; charset=utf-8"


def _hello(headers: Mapping[str, str]) -> Response:
    return Response(HTTPStatus.OK, TEXT, f"hello {headers.get('accept', '-')}\n".encode())


def _broken(headers: Mapping[str, str]) -> Response:
    raise RuntimeError("a route of ours failed")


@pytest.fixture
def server() -> Iterator[HttpServer]:
    """A server on a free port."""
    made = HttpServer("127.0.0.1", 0, {"/hello": _hello, "/broken": _broken})
    made.start()
    yield made
    made.close()


def _get(server: HttpServer, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def _raw(server: HttpServer, request: bytes) -> bytes:
    """What comes back for these bytes, until the server closes."""
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65_536), b""))


def test_routes_answer(server: HttpServer) -> None:
    """A path, with or without a query, with the request's headers; HEAD without the body."""
    assert _get(server, "/hello", accept="text/x") == (200, b"hello text/x\n")
    assert _get(server, "/hello?name=all") == (200, b"hello -\n")
    assert _get(server, "/hello", method="HEAD") == (200, b"")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nope", 404), ("GET", "/", 404), ("POST", "/hello", 405), ("DELETE", "/hello", 405),
     ("GET", "/broken", 500)],
)  # fmt: skip
def test_what_is_not_there_is_said(server: HttpServer, method: str, path: str, status: int) -> None:
    """By its status; a route that fails is told to its own client only."""
    assert _get(server, path, method=method)[0] == status
    assert _get(server, "/hello")[0] == 200


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"garbage\r\n\r\n", b"400"), (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET /hello HTTP/9.9\r\n\r\n", b"400"), (b"GET  /hello HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /hello HTTP/1.1\r\nx: " + b"y" * 40_000 + b"\r\n\r\n", b"431"),
        (b"A" * 40_000, b"431"), (b"GET /" + b"\xff" * 100 + b" HTTP/1.1\r\n\r\n", b"404"),
    ],
    ids=["words", "tls", "version", "spaces", "large header", "endless line", "no text"],
)  # fmt: skip
def test_garbage_is_refused(server: HttpServer, request_bytes: bytes, status: bytes) -> None:
    """With a status where there is somebody to tell, and the next client is served."""
    try:
        answer = _raw(server, request_bytes)
    except ConnectionResetError:
        answer = b"HTTP/1.1 431"  # we closed before it had sent everything: the system may reset then
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert _get(server, "/hello")[0] == 200


def test_a_client_that_says_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """As is one that says it a byte at a time: the whole request has a limit, not each byte."""
    monkeypatch.setattr(module, "REQUEST_SECONDS_MAX", 0.2)
    server = HttpServer("127.0.0.1", 0, {"/hello": _hello})
    server.start()
    try:
        assert _raw(server, b"").startswith(b"HTTP/1.1 408")
        with closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)) as client:
            client.settimeout(0.01)
            assert _drip(client).startswith(b"HTTP/1.1 408")
        assert _get(server, "/hello")[0] == 200
    finally:
        server.close()


def _drip(client: socket.socket) -> bytes:
    """Send a byte, look for an answer, send another: endlessly, as far as the client is concerned."""
    for _ in range(3_000):
        with suppress(OSError):
            client.sendall(b"G")
        try:
            return client.recv(1_000)
        except TimeoutError:
            continue
    raise AssertionError("the server listens for ever")


def test_hanging_clients_keep_nobody_out(server: HttpServer) -> None:
    """However many connect and say nothing: a probe is answered, and no thread is spent on them."""
    threads = threading.active_count()
    with ExitStack() as clients:
        for _ in range(CONNECTIONS_MAX * 3):
            clients.enter_context(closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)))
        assert _get(server, "/hello") == (200, b"hello -\n")
        assert threading.active_count() <= threads + 2


def test_a_route_that_waits_holds_up_no_other() -> None:
    """A scrape that waits for the ledger must not fail a probe."""
    go_on, waiting = threading.Event(), threading.Event()

    def slow(headers: Mapping[str, str]) -> Response:
        waiting.set()
        go_on.wait(20)
        return _hello(headers)

    server = HttpServer("127.0.0.1", 0, {"/slow": slow, "/hello": _hello})
    server.start()
    try:
        answers: list[tuple[int, bytes]] = []
        scrape = threading.Thread(target=lambda: answers.append(_get(server, "/slow")))
        scrape.start()
        assert waiting.wait(20)
        assert _get(server, "/hello")[0] == 200
        go_on.set()
        scrape.join(20)
        assert answers[0][0] == 200
    finally:
        go_on.set()
        server.close()


def test_a_port_that_is_taken_is_said(server: HttpServer) -> None:
    """With the setting to change."""
    with pytest.raises(InvalidSettings) as refused:
        HttpServer("127.0.0.1", server.port, {}).start()
    assert (refused.value.field, str(server.port) in str(refused.value)) == ("JOBLEDGER_METRICS_PORT", True)


def test_a_closed_server_frees_its_port(server: HttpServer) -> None:
    """A worker that starts anew can have it, even while a client of the old one still hangs about."""
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)):
        server.close()
        second = HttpServer("127.0.0.1", server.port, {"/hello": _hello})
        second.start()
        assert _get(second, "/hello")[0] == 200
        second.close()


def test_a_forked_child_does_not_keep_the_port(server: HttpServer) -> None:
    """Handlers in processes of their own outlive a killed worker for a moment: the port must be free by then."""
    ready, began = os.pipe()
    ending, end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end)
        os.write(began, b"!")
        os.read(ending, 1)  # until the test closes its end
        os._exit(0)
    os.close(ending)
    assert os.read(ready, 1) == b"!"
    _in_parent(server)
    os.close(end)
    os.waitpid(child, 0)


def _in_parent(server: HttpServer) -> None:
    server.close()
    second = HttpServer("127.0.0.1", server.port, {"/hello": _hello})
    second.start()
    assert _get(second, "/hello")[0] == 200
    second.close()
