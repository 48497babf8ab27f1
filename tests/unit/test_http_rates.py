"""How much one identity may have of a server at a time, and how often an address may fail to prove who asks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Request

from jobledger.application.authentication import unauthenticated
from jobledger.application.known_keys import RENEW_SECONDS, KnownKeys
from jobledger.domain.errors import Unauthenticated
from jobledger.domain.identity import Identity
from jobledger.infrastructure.http.authentication import authenticate
from jobledger.infrastructure.http.problem_documents import STATUS, ApiError
from jobledger.infrastructure.http.rates import FailedProofs, Rates, Streams


def test_one_stream_too_many_is_refused_until_another_ends() -> None:
    """Each identity for itself; whoever is refused is told when to come back."""
    streams = Streams(2)
    with ExitStack() as others:
        others.enter_context(streams.opened("key:a"))
        with streams.opened("key:a"):
            with pytest.raises(ApiError) as refused, streams.opened("key:a"):
                pass
            with streams.opened("key:b"):
                pass
        with streams.opened("key:a"):
            pass
    assert refused.value.error_code == "too_many_requests" and int(refused.value.headers["Retry-After"]) > 0


def test_streams_that_broke_off_count_no_more() -> None:
    """Also where what is told fails."""
    streams = Streams(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), streams.opened("key:a"):
            raise ZeroDivisionError


# --- credentials that prove nothing ----------------------------------------------------------------------------------

HERE, ELSEWHERE = "198.51.100.7", "198.51.100.8"
GOOD = "jl_good." + "g" * 43


class Time:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


class Keys:
    """An authenticator that knows one key, and counts who was looked up."""

    def __init__(self) -> None:
        self.lookups: list[str] = []

    def authenticate(self, credential: str, *, address: str | None = None) -> Identity:
        """Look it up."""
        del address
        self.lookups.append(credential)
        if credential != GOOD:
            raise unauthenticated()
        return Identity(id="key:good", grants=(), technical=True)

    def at_once(self, credential: str, *, address: str | None = None) -> Identity | None:
        """Nobody is remembered."""
        del credential, address
        return None


class Register:
    """Which keys there are, and how often that was read."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = ids
        self.reads = 0

    def key_ids(self, *, after: str = "", limit: int) -> list[str]:
        """Those behind one."""
        self.reads += after == ""
        return [each for each in self.ids if each > after][:limit]


class Door:
    """Requests that have to prove who asks."""

    def __init__(self, keys: Sequence[str] = ("good",)) -> None:
        self.time, self.keys, self.register = Time(), Keys(), Register(keys)
        register: Any = self.register
        clock: Any = SimpleNamespace(monotonic=self.time)
        known = KnownKeys(register, clock)
        known.renew()
        self._services = SimpleNamespace(
            authenticator=self.keys, failures=FailedProofs(self.time, known), rates=Rates(None, self.time),
            authorization=SimpleNamespace(of=lambda identity: SimpleNamespace(identity=identity)),
        )  # fmt: skip

    def status(self, credential: str, address: str = HERE) -> int:
        """How one is answered."""
        app: Any = SimpleNamespace(state=SimpleNamespace(services=self._services))
        headers = [(b"authorization", f"Bearer {credential}".encode())]
        state = {"request_id": "r", "trace_parent": None}
        scope = {"type": "http", "app": app, "headers": headers, "client": (address, 1), "state": state}
        try:
            asyncio.run(authenticate(Request(scope)))
        except Unauthenticated:
            return 401
        except ApiError as error:
            return STATUS[error.error_code] if int(error.headers["Retry-After"]) > 0 else 0
        return 200


def junk(number: int) -> str:
    """A key that nobody has."""
    return f"jl_junk{number}." + "j" * 43


def test_keys_that_nobody_knows_are_not_looked_up_without_end() -> None:
    """So many of an address are 401, then all are 429 without a look; later there is room again."""
    door = Door()
    many = int(FailedProofs.AT_ONCE)
    assert {door.status(junk(number)) for number in range(many)} == {401}
    assert {door.status(junk(number)) for number in range(many, many + 50)} == {429}
    assert len(door.keys.lookups) == many
    door.time.now += 1
    assert [door.status(junk(0)) for _ in range(11)] == [401] * 10 + [429]


def test_who_has_a_key_is_answered_whatever_else_comes_from_his_address() -> None:
    """Also where this server never saw the key; other addresses are not concerned at all."""
    door = Door()
    for number in range(400):
        door.status(junk(number))
    assert (door.status(junk(0)), door.status(GOOD)) == (429, 200)
    assert (door.status(junk(0), ELSEWHERE), door.status(GOOD, ELSEWHERE)) == (401, 200)


def test_a_key_that_was_made_meanwhile_is_answered_too() -> None:
    """Which keys there are is read again as long as it matters, and no more often than every two seconds."""
    door = Door(keys=())
    for number in range(150):
        door.status(junk(number))
    assert (door.status(GOOD), door.register.reads) == (429, 1)
    door.register.ids = ["good"]
    door.time.now += RENEW_SECONDS
    for number in range(150):
        door.status(junk(number))
    assert (door.status(GOOD), door.status(junk(0))) == (200, 429)
    assert door.register.reads == 2


def test_wrong_secrets_of_a_key_are_failures_of_that_key() -> None:
    """They are compared without end, answered 429 after so many, and cost nobody else anything: not even the key."""
    door = Door()
    wrong = "jl_good." + "x" * 43
    many = int(FailedProofs.AT_ONCE)
    assert {door.status(wrong) for _ in range(many)} == {401}
    assert (door.status(wrong, ELSEWHERE), door.status(junk(0)), door.status(GOOD)) == (429, 401, 200)


def test_tokens_and_nothing_at_all_are_failures_too() -> None:
    """A token may be good though nobody knows it: it is looked at, and told less."""
    door = Door()
    assert {door.status("a.b.c") for _ in range(50)} | {door.status("") for _ in range(50)} == {401}
    assert (door.status("a.b.c"), door.status("")) == (429, 429)
    assert door.keys.lookups[-1] == "a.b.c"


def test_one_network_of_ipv6_is_one_address() -> None:
    """A customer has as many of those addresses as he likes."""
    door = Door()
    for number in range(100):
        door.status(junk(number), f"2001:db8:1:2:{number:x}::1")
    assert door.status(junk(0), "2001:db8:1:2:ffff::1") == 429
    assert door.status(junk(0), "2001:db8:1:3::1") == 401


def test_an_identity_asks_so_many_times_a_second() -> None:
    """One more is told when to come back."""
    time = Time()
    rates = Rates(2, time)
    rates.take("key:a")
    rates.take("key:a")
    with pytest.raises(ApiError):
        rates.take("key:a")
    rates.take("key:b")
    time.now += 0.5
    rates.take("key:a")
