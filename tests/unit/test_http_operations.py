"""Operations of a server: so many at a time, and what is known of each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from jobledger.domain.errors import CountChanged, LedgerUnavailable
from jobledger.infrastructure.http import operations as module
from jobledger.infrastructure.http.operations import Operation, Operations
from jobledger.infrastructure.http.problem_documents import ApiError
from tests.support.waiting import until

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def operations() -> Iterator[Operations]:
    """Two at a time."""
    operations = Operations(lambda: NOW, running_max=2)
    yield operations
    operations.close()


def operation(tenant: str | None = "acme") -> Operation:
    """One that is to begin."""
    return Operation("dlq.requeue", tenant, "key:ana", "a test", NOW)


def _is_over(one: Operation) -> bool:
    return one.ended_at is not None


class Slow:
    """Work that goes on until it is let go."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.go_on = threading.Event()

    def __call__(self, operation: Operation) -> dict[str, Any]:
        """Begin, wait, report, end."""
        operation.known_as(self.name)
        self.go_on.wait()
        operation.report(2, 3)
        return {"changed": 2}


def test_it_is_known_while_it_goes_on_and_afterwards(operations: Operations) -> None:
    """To its tenant only."""
    work = Slow("a.1")
    assert operations.begin(operation(), work, "r-1") == "a.1"
    found = operations.get("acme", "a.1")
    assert found is not None and found.shape()["status"] == "running"
    assert operations.get("other", "a.1") is None is operations.get(None, "a.1")
    work.go_on.set()
    until(lambda: found.ended_at is not None)
    shape = found.shape()
    assert (shape["status"], shape["result"], shape["ended_at"]) == ("succeeded", {"changed": 2}, NOW)
    assert shape["progress"] == {"done": 2, "total": 3, "state": None, "fraction": None}


def test_a_server_that_ends_breaks_off_what_goes_on(operations: Operations) -> None:
    """Where it says how far it is; whoever asks is told that it can be begun again."""
    work, mine = Slow("a.1"), operation()
    operations.begin(mine, work, "r-1")
    ending = threading.Thread(target=operations.close)
    ending.start()
    until(lambda: mine.stopping)
    work.go_on.set()
    ending.join()
    assert mine.problem is not None and (mine.status, mine.problem.code) == ("failed", "interrupted")


def test_only_so_many_go_on_at_a_time(operations: Operations) -> None:
    """One more is told to come back; there is room again once one has ended."""
    works = [Slow("a.1"), Slow("a.2")]
    for work in works:
        operations.begin(operation(), work, None)
    with pytest.raises(ApiError) as caught:
        operations.begin(operation(), Slow("a.3"), None)
    assert caught.value.error_code == "too_many_requests" and caught.value.headers["Retry-After"] == "5"
    for work in works:
        work.go_on.set()


def test_no_tenant_takes_all_the_room() -> None:
    """A third of one tenant is told to come back, another tenant's begins; views are nobody's, and are not counted."""
    operations = Operations(lambda: NOW)
    works = [Slow(f"a.{number}") for number in range(4)]
    begun = [operation(), operation(), operation("other"), operation(None)]
    for one, work in zip(begun[:2], works[:2], strict=True):
        operations.begin(one, work, None)
    with pytest.raises(ApiError, match="2 operations of this tenant"):
        operations.begin(operation(), Slow("a.5"), None)
    for one, work in zip(begun[2:], works[2:], strict=True):
        operations.begin(one, work, None)
    for work in works:
        work.go_on.set()
    until(lambda: all(one.status == "succeeded" for one in begun))
    operations.close()


def test_what_keeps_it_from_beginning_is_raised(operations: Operations) -> None:
    """To whoever asked; nothing is known of it afterwards, and its place is free."""

    def refused(_operation: Operation) -> dict[str, Any]:
        raise CountChanged(1, 2)

    for _ in range(5):
        with pytest.raises(CountChanged):
            operations.begin(operation(), refused, None)
    assert operations.get("acme", "a.1") is None


def test_nobody_waits_for_ever_to_hear_that_it_began(operations: Operations) -> None:
    """An operation that ends without having been known is a mistake, and told as one."""

    def forgets(_operation: Operation) -> dict[str, Any]:
        return {}

    with pytest.raises(RuntimeError):
        operations.begin(operation(), forgets, None)


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [(LedgerUnavailable("secret"), "ledger_unavailable", 503), (RuntimeError("secret"), "internal_error", 500)],
)
def test_what_fails_has_a_problem(operations: Operations, error: Exception, code: str, status: int) -> None:
    """Without what is nobody's business."""

    def fails(operation: Operation) -> dict[str, Any]:
        operation.known_as("a.1")
        raise error

    mine = operation()
    operations.begin(mine, fails, "r-1")
    operations.close()
    assert mine.problem is not None and mine.status == "failed"
    assert (mine.problem.code, mine.problem.status, mine.problem.request_id) == (code, status, "r-1")
    assert "secret" not in mine.problem.detail


def test_nothing_begins_at_a_server_that_ends(operations: Operations) -> None:
    """It is told to come back."""
    operations.close()
    with pytest.raises(ApiError):
        operations.begin(operation(), Slow("a.1"), None)


def test_results_are_not_kept_for_ever(operations: Operations, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger knows of all of them."""
    monkeypatch.setattr(module, "REMEMBERED_MAX", 2)

    for number in range(6):
        mine, work = operation(), Slow(f"a.{number}")
        work.go_on.set()
        operations.begin(mine, work, None)
        until(partial(_is_over, mine))
    known = [number for number in range(6) if operations.get("acme", f"a.{number}") is not None]
    assert known == [3, 4, 5]


def test_the_same_twice_is_one(operations: Operations) -> None:
    """Whoever asks for what goes on already is told of that one."""
    first, again = Slow("a.1"), Slow("a.1")
    mine = operation()
    operations.begin(mine, first, None)
    operations.begin(operation(), again, None)
    assert operations.get("acme", "a.1") is mine
    for work in (first, again):
        work.go_on.set()
