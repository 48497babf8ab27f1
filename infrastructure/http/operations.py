"""Acts that take longer than a request: so many at a time, each in a thread of its own, looked at by its id.

An operation is known to the ledger before its request is answered: under that id any server can say what became of it.
What this module adds is what the process that does it knows, and nobody else: how far it is just now, and all of its
result.
"""

from __future__ import annotations

import contextvars
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from typing import Any

import structlog

from jobledger.domain.errors import JobledgerError

from ..api.problems import Problem
from .problem_documents import ApiError, make_problem, problem_of, unavailable

RUNNING_MAX = 4
"""Operations of one server at a time."""
OF_TENANT_MAX = 2
"""Of them, those of one tenant: no tenant keeps the others from theirs."""
REMEMBERED_MAX = 200
"""Ended operations whose result a server still knows; the ledger knows of all of them."""
RETRY_AFTER_SECONDS = 5
_GOODBYE_SECONDS = 15.0
"""How long a server that ends waits for operations to break off: they do so between two batches."""

_log = structlog.get_logger("jobledger.http")

Work = Callable[["Operation"], dict[str, Any]]
"""Does it. It calls `known_as` once the ledger knows of it, and `report` while it goes on; returns the result."""


class Interrupted(Exception):
    """The server ends: whatever goes on breaks off here."""


class Operation:
    """One act under way, or over."""

    def __init__(self, kind: str, tenant: str | None, actor: str, reason: str, begun_at: datetime) -> None:
        self.kind = kind
        self.tenant = tenant
        self.actor = actor
        self.reason = reason
        self.begun_at = begun_at
        self.ended_at: datetime | None = None
        self.done = 0
        self.total: int | None = None
        self.state: str | None = None
        self.fraction: float | None = None
        self.result: dict[str, Any] | None = None
        self.problem: Problem | None = None
        self.stopping = False
        self.known: Future[str] = Future()

    def known_as(self, operation_id: str) -> None:
        """The ledger knows of it, under this id."""
        self.known.set_result(operation_id)

    def report(self, done: int, total: int | None, *, state: str | None = None, fraction: float | None = None) -> None:
        """It has come so far. Raises `Interrupted` where it is not to go on."""
        self.done, self.total, self.state, self.fraction = done, total, state, fraction
        if self.stopping:
            raise Interrupted

    def came_to(self, state: str, fraction: float | None = None) -> None:
        """It is over, in this state; `fraction` None: as far as it was."""
        self.state = state
        self.fraction = self.fraction if fraction is None else fraction

    @property
    def status(self) -> str:
        """Whether it goes on, and how it ended."""
        if self.problem is not None:
            return "failed"
        return "running" if self.ended_at is None else "succeeded"

    def shape(self) -> dict[str, Any]:
        """For its answer."""
        return shape(
            self.known.result(), self.kind, self.status, actor=self.actor, reason=self.reason, begun_at=self.begun_at,
            ended_at=self.ended_at, result=self.result, problem=self.problem,
            progress=progress(self.done, self.total, state=self.state, fraction=self.fraction),
        )  # fmt: skip


class Operations:
    """The operations of one server."""

    def __init__(self, now: Callable[[], datetime], *, running_max: int = RUNNING_MAX) -> None:
        self._now = now
        self._room = threading.BoundedSemaphore(running_max)
        self._running_max = running_max
        self._lock = threading.Lock()
        self._threads: dict[Operation, threading.Thread] = {}
        self._known: OrderedDict[tuple[str | None, str], Operation] = OrderedDict()
        self._closed = False

    def begin(self, operation: Operation, work: Work, request_id: str | None) -> str:
        """Begin it, in a thread; its id, once the ledger knows of it. Raises what kept it from beginning, and the error
        of status 429 where too many go on."""
        if self._closed or not self._room.acquire(blocking=False):
            raise _too_many(self._running_max)
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._run, operation, work, request_id), name="jobledger-operation", daemon=True
        )
        with self._lock:
            others = sum(one.tenant == operation.tenant for one in self._threads if one.tenant is not None)
            if others < OF_TENANT_MAX:
                self._threads[operation] = thread
        if others >= OF_TENANT_MAX:
            self._room.release()
            raise _too_many(OF_TENANT_MAX, "operations of this tenant")
        thread.start()
        return operation.known.result()

    def start(
        self, kind: str, *, tenant: str, actor: str, reason: str, total: int, work: Work, request_id: str | None
    ) -> str:  # fmt: skip
        """Make one of so many steps, and begin it."""
        operation = Operation(kind, tenant, actor, reason, self._now())
        operation.total = total
        return self.begin(operation, work, request_id)

    def get(self, tenant: str | None, operation_id: str) -> Operation | None:
        """What this server knows of an operation; None: it is not one of its own, or was too long ago."""
        with self._lock:
            return self._known.get((tenant, operation_id))

    def close(self) -> None:
        """Let what goes on break off, and say so on record."""
        self._closed = True
        with self._lock:
            threads = dict(self._threads)
        for operation in threads:
            operation.stopping = True
        for thread in threads.values():
            thread.join(_GOODBYE_SECONDS)

    def _run(self, operation: Operation, work: Work, request_id: str | None) -> None:
        operation.known.add_done_callback(lambda known: self._remember(operation, known))
        failure: Exception | None = None
        try:
            operation.result = work(operation)
        except Interrupted:
            operation.problem = interrupted("the server that did it was stopped", request_id)
            failure = _too_many(self._running_max)  # for who still waits to hear that it begins: another server may
        except JobledgerError as error:
            failure, operation.problem = error, problem_of(error, request_id)
        except Exception as error:  # noqa: BLE001 - told as any other trouble of the server
            _log.error("operation.failed", kind=operation.kind, exc_info=error)
            problem = make_problem("internal_error", 500, unavailable(500), request_id=request_id)
            failure, operation.problem = error, problem
        operation.ended_at = self._now()
        with self._lock:
            del self._threads[operation]
        self._room.release()
        if not operation.known.done():
            operation.known.set_exception(failure or RuntimeError("it ended before the ledger knew of it"))

    def _remember(self, operation: Operation, known: Future[str]) -> None:
        if known.exception() is not None:
            return
        with self._lock:
            name = (operation.tenant, known.result())
            before = self._known.get(name)
            if before is not None and before.ended_at is None:
                return  # whoever asked a second time is told of the one that goes on
            self._known[name] = operation
            ended = [key for key, one in self._known.items() if one.ended_at is not None]
            for key in ended[: max(0, len(ended) - REMEMBERED_MAX)]:
                del self._known[key]


def shape(
    operation_id: str, kind: str, status: str, *, actor: str, reason: str, begun_at: datetime | None,
    ended_at: datetime | None, progress: dict[str, Any], result: dict[str, Any] | None = None,
    problem: Problem | None = None,
) -> dict[str, Any]:  # fmt: skip
    """An operation, as it is answered."""
    return {
        "operation_id": operation_id, "kind": kind, "status": status, "actor": actor, "reason": reason,
        "begun_at": begun_at, "ended_at": ended_at, "progress": progress, "result": result, "problem": problem,
    }  # fmt: skip


def progress(
    done: int, total: int | None, *, state: str | None = None, fraction: float | None = None
) -> dict[str, Any]:
    """How far an operation is."""
    return {"done": done, "total": total, "state": state, "fraction": fraction}


def interrupted(why: str, request_id: str | None = None) -> Problem:
    """What an operation is told as that nobody goes on with."""
    return problem_of(
        ApiError(
            "interrupted", f"it broke off: {why}", rule="goes on to its end",
            hint="what was done stays done; begin it again for the rest",
        ), request_id,
    )  # fmt: skip


def _too_many(running_max: int, what: str = "operations") -> ApiError:
    return ApiError(
        "too_many_requests", f"{running_max} {what} go on at this server", rule=f"at most {running_max} at a time",
        hint="wait until one of them has ended", headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )  # fmt: skip
