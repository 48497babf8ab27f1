"""A flaky payment provider: a real HTTP server on the loopback interface, deterministic by its seed.

    with FlakyProvider(seed=7) as provider:
        HttpPaymentGateway(provider.url, timeout_seconds=0.5)

How a payment fares depends on the seed and its id alone. `POST /v1/captures` takes JSON and an Idempotency-Key; a key
that has been answered gets the same capture again, so that retrying is safe.
"""

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Self


class Mood(StrEnum):
    """How the provider treats a payment; temporary trouble is over after `TRIES[mood]` tries."""

    FINE = "fine"
    DOWN = "down"  # 503
    BUSY = "busy"  # 429 with Retry-After
    SLOW = "slow"  # collects the money, but answers too late
    OUT = "out"  # 503, for ever: no number of retries is enough
    BROKE = "broke"  # 402, for ever
    WRONG = "wrong"  # 422, for ever


TRIES = {Mood.DOWN: 2, Mood.BUSY: 1, Mood.SLOW: 1}

# Of 20 payments. OUT, BROKE and WRONG are few: each of them becomes a dead letter that somebody has to look at.
_MOODS = (*[Mood.FINE] * 10, Mood.OUT, *[Mood.DOWN] * 3, *[Mood.BUSY] * 2, *[Mood.SLOW] * 2, Mood.BROKE, Mood.WRONG)
_PATH = "/v1/captures"
_LARGEST_BODY = 16_384


def mood_of(seed: int, payment_id: str) -> Mood:
    """How the provider with this seed treats a payment."""
    digest = hashlib.sha256(f"{seed}:{payment_id}".encode()).digest()
    return _MOODS[int.from_bytes(digest[:4]) % len(_MOODS)]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the provider answers, and whether it takes too long for it."""

    status: int
    body: dict[str, Any]
    retry_after_seconds: int | None = None
    late: bool = False


@dataclass(slots=True)
class Books:
    """What the provider remembers: tries and captures by idempotency key."""

    seed: int
    tries: dict[str, int] = field(default_factory=dict)
    captures: dict[str, dict[str, Any]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def handle(self, key: str, request: dict[str, Any]) -> Reply:
        """Decide one request."""
        mood = mood_of(self.seed, str(request["payment_id"]))
        with self._lock:
            if key in self.captures:
                return Reply(200, self.captures[key])
            tries = self.tries[key] = self.tries.get(key, 0) + 1
            if mood in (Mood.BROKE, Mood.WRONG):
                return _refusal(mood)
            trouble = tries <= TRIES.get(mood, 0)
            if mood is Mood.OUT or (trouble and mood is Mood.DOWN):
                return Reply(503, {"error": "the service is being restarted"})
            if trouble and mood is Mood.BUSY:
                return Reply(429, {"error": "too many requests"}, retry_after_seconds=1)
            self.captures[key] = _capture(key, request)
            return Reply(201, self.captures[key], late=trouble)


def _refusal(mood: Mood) -> Reply:
    if mood is Mood.BROKE:
        return Reply(402, {"error": "the payer's bank declines: insufficient funds"})
    return Reply(422, {"error": "the payer's account does not exist"})


def _capture(key: str, request: dict[str, Any]) -> dict[str, Any]:
    capture_id = f"cap_{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    return {**request, "capture_id": capture_id}


class FlakyProvider:
    """The running server. Use it as a context manager; `url` is known as soon as the object exists."""

    def __init__(self, seed: int, slow_seconds: float = 5.0) -> None:
        """`slow_seconds` is how late a late answer is; it should be longer than the client's timeout."""
        self.books = Books(seed)
        self.closing = Event()
        self.slow_seconds = slow_seconds
        self._server = _Server(self)
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), name="flaky-provider", daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Late answers still wait for their time: they need not.
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, provider: FlakyProvider) -> None:
        self.provider = provider
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has given up waiting is this server's daily bread, and no traceback."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """`POST /v1/captures`."""
        reply = self._reply()
        if reply.late:
            self.server.provider.closing.wait(self.server.provider.slow_seconds)
        content = json.dumps(reply.body).encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if reply.retry_after_seconds is not None:
            self.send_header("Retry-After", str(reply.retry_after_seconds))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Silent: the terminal belongs to the demo."""

    def _reply(self) -> Reply:
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), _LARGEST_BODY))
        key = self.headers.get("Idempotency-Key")
        if self.path != _PATH:
            return Reply(404, {"error": f"no such path, try {_PATH}"})
        if not key:
            return Reply(400, {"error": "the Idempotency-Key header is missing"})
        try:
            request = json.loads(body)
            return self.server.provider.books.handle(key, request)
        except (ValueError, KeyError, TypeError):
            return Reply(400, {"error": "the body is no JSON object with a payment_id"})
