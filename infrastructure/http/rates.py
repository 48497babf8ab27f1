"""How often one identity may ask, how many streams it may have open, and how often an address may fail to prove who
asks: counted for each, in this process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from threading import Lock

from jobledger.application.authentication import KEY_PREFIX
from jobledger.application.known_keys import KnownKeys

from .problem_documents import ApiError

_REMEMBERED_MAX = 10_000
_KEY_LENGTH_MAX = 30


class _Buckets:
    """A token bucket for each name: `per_second` tokens come back, `size` are there at most."""

    def __init__(self, per_second: float, size: float, monotonic: Callable[[], float]) -> None:
        self.per_second = per_second
        self._size = size
        self._monotonic = monotonic
        self._lock = Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> float:
        """Take a token; the seconds until there is one where there is none, else 0."""
        with self._lock:
            tokens, now = self._tokens(name)
            taken = tokens >= 1
            self._buckets[name] = (tokens - 1 if taken else tokens, now)
            self._buckets.move_to_end(name)
            if len(self._buckets) > _REMEMBERED_MAX:
                self._buckets.popitem(last=False)
        return 0.0 if taken else (1 - tokens) / self.per_second

    def wait_seconds(self, name: str) -> float:
        """The seconds until there is a token; 0 where there is one."""
        with self._lock:
            tokens, _ = self._tokens(name)
        return max(0.0, (1 - tokens) / self.per_second)

    def _tokens(self, name: str) -> tuple[float, float]:
        now = self._monotonic()
        tokens, at = self._buckets.get(name, (self._size, now))
        return min(self._size, tokens + (now - at) * self.per_second), now


class Rates:
    """`per_second` requests of each identity (None: as many as it likes), and that many at once."""

    def __init__(self, per_second: float | None, monotonic: Callable[[], float]) -> None:
        self._buckets = None if per_second is None else _Buckets(per_second, max(per_second, 1.0), monotonic)

    def take(self, name: str) -> None:
        """Count one request; raises the error of status 429 where that is one too many."""
        if self._buckets is not None and (wait_seconds := self._buckets.take(name)):
            raise _too_many(
                f"more than {self._buckets.per_second:g} requests a second", "a rate for each key", wait_seconds
            )


class FailedProofs:
    """Credentials that proved nothing: so many of each address, then even looking them up is too much.

    Only failures count. What names a key that there is is always looked up, whatever else comes from its address:
    behind a proxy all come from one. A wrong secret of such a key counts for that key, not for the address."""

    PER_SECOND = 10.0
    AT_ONCE = 100.0

    def __init__(self, monotonic: Callable[[], float], known: KnownKeys) -> None:
        self._buckets = _Buckets(self.PER_SECOND, self.AT_ONCE, monotonic)
        self._known = known

    def has_to_renew(self, credential: str, address: str | None) -> bool:
        """Whether which keys there are has to be read again (see `renew`) before `require_room` says no."""
        return self._known.is_old and self._wait_seconds(credential, address) > 0

    def renew(self) -> None:
        """Read which keys there are. Waits for the ledger, and raises what it raises."""
        self._known.renew()

    def require_room(self, credential: str, address: str | None) -> None:
        """Raise the error of status 429 for what names no key, from an address with too many failures."""
        if wait_seconds := self._wait_seconds(credential, address):
            raise self._error(wait_seconds)

    def failed(self, credential: str, address: str | None) -> None:
        """Count one; raises the error of status 429 where that is one too many."""
        name = f"key:{_key_id(credential)}" if self._is_known(credential) else address and _network(address)
        if name is not None and (wait_seconds := self._buckets.take(name)):
            raise self._error(wait_seconds)

    def proved(self, credential: str) -> None:
        """Remember that a key is one."""
        if credential.startswith(KEY_PREFIX):
            self._known.add(_key_id(credential))

    def _wait_seconds(self, credential: str, address: str | None) -> float:
        """How long a credential that may be junk has to wait; a token may be good though nobody knows it."""
        if address is None or not credential.startswith(KEY_PREFIX) or self._is_known(credential):
            return 0.0
        return self._buckets.wait_seconds(_network(address))

    def _is_known(self, credential: str) -> bool:
        return credential.startswith(KEY_PREFIX) and self._known.has(_key_id(credential))

    def _error(self, wait_seconds: float) -> ApiError:
        return _too_many(
            "too many credentials from here proved nothing", f"{self.PER_SECOND:g} a second", wait_seconds
        )  # fmt: skip


def _key_id(credential: str) -> str:
    """What names the key in its text."""
    return credential[len(KEY_PREFIX) :].partition(".")[0][:_KEY_LENGTH_MAX]


def _network(address: str) -> str:
    """The address; of IPv6 the network that one customer has."""
    return ":".join(address.split(":")[:4]) if ":" in address and "." not in address else address


def _too_many(message: str, rule: str, wait_seconds: float) -> ApiError:
    return ApiError(
        "too_many_requests", message, rule=rule, hint="wait as long as Retry-After says",
        headers={"Retry-After": str(ceil(wait_seconds))},
    )  # fmt: skip


class Streams:
    """So many streams of each identity at a time."""

    RETRY_AFTER_SECONDS = 10

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._open: dict[str, int] = {}

    @property
    def open(self) -> int:
        """How many of them there are, of all."""
        return sum(list(self._open.values()))

    @contextmanager
    def opened(self, name: str) -> Iterator[None]:
        """One more during the block; raises the error of status 429 where that is one too many. In the event loop."""
        already = self._open.get(name, 0)
        if already >= self._at_once:
            raise ApiError(
                "too_many_requests", f"{already} streams of this identity are open at this server",
                rule=f"at most {self._at_once} at a time", hint="close one, or let many listen to one",
                headers={"Retry-After": str(self.RETRY_AFTER_SECONDS)},
            )  # fmt: skip
        self._open[name] = already + 1
        try:
            yield
        finally:
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]
