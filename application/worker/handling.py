"""Calls a handler: payload in, result or error out. Whatever the handler does, an ending comes out of it.

What is recorded of it (messages, tracebacks, reasons) is without the secrets that the attempt was given; a result that
holds one is refused.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from jobledger.domain.errors import InvalidInput, UnknownSecret, VaultUnavailable

from ..secret_ref import REFERENCE_MARK
from .attempt import Attempt, Services
from .context import AttemptContext
from .failures import misfit, traceback_of
from .forks import EndsCopies
from .outcomes import Ending, Failed, Succeeded
from .verdict import ending_of

MakeContext = Callable[[Attempt, Services, str], AttemptContext]
"""Makes what a handler gets: attempt, services and the traceparent of its span."""


def handle(
    attempt: Attempt, services: Services, trace_parent: str, make_context: MakeContext = AttemptContext
) -> Ending:  # fmt: skip
    """Call a handler that is a function, in this thread."""
    payload = read_payload(attempt, services)
    if isinstance(payload, Unreadable):
        return payload.ending
    context = make_context(attempt, services, trace_parent)
    try:
        result = attempt.declared.handler(context, payload)
    except BaseException as error:  # noqa: BLE001 - SystemExit in a handler is that job's failure, not ours
        attempt.origin.end_copy(error)
        return ending_of(error, attempt)
    attempt.origin.end_copy()
    return encoded(attempt, result)


async def handle_async(
    attempt: Attempt, services: Services, trace_parent: str, make_context: MakeContext = AttemptContext
) -> Ending:  # fmt: skip
    """Call a handler that is a coroutine, in this task.

    A request to cancel the job cancels the task, once: the handler sees `asyncio.CancelledError` where it waits. A
    handler that catches it goes on; what it returns then counts.
    """
    try:
        payload = await _read_payload_async(attempt, services)
        if isinstance(payload, Unreadable):
            return payload.ending
        context = make_context(attempt, services, trace_parent)
        answer = attempt.declared.handler(context, payload)
        if inspect.isawaitable(answer):
            answer = await _cancellable(EndsCopies(answer, attempt.origin), attempt)
    except BaseException as error:  # noqa: BLE001 - SystemExit in a handler is that job's failure, not ours
        attempt.origin.end_copy(error)
        return ending_of(error, attempt)
    attempt.origin.end_copy()
    return encoded(attempt, answer)


class Unreadable:
    """The handler cannot be called: this is how the attempt ends."""

    __slots__ = ("ending",)

    def __init__(self, ending: Ending) -> None:
        self.ending = ending


def read_payload(attempt: Attempt, services: Services) -> object:
    """The payload as the handler takes it, its references to secrets resolved; `Unreadable` where it does not fit."""
    body = attempt.job.payload
    try:
        if REFERENCE_MARK not in body:
            return attempt.declared.read(body)
        return attempt.declared.read_resolved(body, attempt.secrets_from(services.vault))
    except (UnknownSecret, VaultUnavailable) as error:
        return Unreadable(ending_of(error, attempt))
    except BaseException as error:  # noqa: BLE001 - validators are the user's code
        return Unreadable(_misfit("payload", error, attempt, integrity=True))


def encoded(attempt: Attempt, result: object) -> Ending:
    """What a handler returned, as JSON; a failure where it is none, or holds a secret."""
    try:
        body = attempt.declared.encode_result(result)
        if attempt.secrets is not None:
            _refuse_secret(attempt.secrets.named_in(body))
    except BaseException as error:  # noqa: BLE001 - validators and serializers are the user's code
        return _misfit("result", error, attempt, integrity=False)
    return Succeeded(body)


def _refuse_secret(name: str | None) -> None:
    if name is not None:
        raise InvalidInput(
            f"it holds the secret {name!r}, and results are recorded", field="result", rule="results hold no secrets"
        )


async def _read_payload_async(attempt: Attempt, services: Services) -> object:
    """Asking the vault may take its time: the event loop goes on meanwhile."""
    if REFERENCE_MARK not in attempt.job.payload:
        return read_payload(attempt, services)
    return await asyncio.to_thread(read_payload, attempt, services)


async def _cancellable(handler: Awaitable[object], attempt: Attempt) -> object:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()

    def interrupt() -> None:
        if task is not None:
            loop.call_soon_threadsafe(task.cancel)

    attempt.on_cancel = interrupt
    if attempt.cancel_requested:  # asked for before anybody could be told
        interrupt()
    try:
        return await handler
    finally:
        attempt.on_cancel = None


def _misfit(what: str, error: BaseException, attempt: Attempt, *, integrity: bool) -> Failed:
    told = misfit(what, error, attempt.redact, integrity=integrity)
    return Failed(told, traceback_of(error, attempt.redact))
