"""What an exception that left a handler means for its attempt. Whatever it is, it means something."""

from __future__ import annotations

import asyncio

from jobledger.domain.errors import JobCancelledError, Snooze
from jobledger.domain.job import AttemptError

from .attempt import Attempt
from .failures import MAX_DELAY_SECONDS, digest, failure, message_of, number_of, traceback_of, type_name
from .outcomes import Ending, Failed, GivenBack, PutOff, Stopped


def ending_of(error: BaseException, attempt: Attempt) -> Ending:
    """The ending that an exception stands for. Never raises: looking at an exception calls its own code."""
    try:
        return _ending_of(error, attempt)
    except BaseException as second:  # noqa: BLE001 - looking at an exception calls its own code
        return _unreadable(error, second, attempt)


def failed(error: BaseException, attempt: Attempt) -> Ending:
    """The failure that an exception is, whatever it is called."""
    try:
        return _failed(error, attempt)
    except BaseException as second:  # noqa: BLE001 - looking at an exception calls its own code
        return _unreadable(error, second, attempt)


def _ending_of(error: BaseException, attempt: Attempt) -> Ending:
    if isinstance(error, Snooze):
        return _put_off(error, attempt)
    if isinstance(error, JobCancelledError) and attempt.cancel_requested:
        return Stopped()
    if attempt.stopping:
        return GivenBack("the worker stopped")
    if isinstance(error, asyncio.CancelledError) and attempt.cancel_requested:
        return Stopped()
    return _failed(error, attempt)


def _put_off(error: Snooze, attempt: Attempt) -> Ending:
    seconds = number_of(error.delay_seconds)
    if seconds is None or not 0 <= seconds <= MAX_DELAY_SECONDS:
        return _failed(error, attempt)
    return PutOff(seconds, message_of(error, attempt.redact))


def _failed(error: BaseException, attempt: Attempt) -> Failed:
    told = failure(error, attempt.declared.errors, attempt.redact)
    return Failed(told, traceback_of(error, attempt.redact))


def _unreadable(error: BaseException, second: BaseException, attempt: Attempt) -> Failed:
    return Failed(AttemptError(type_name(error), message_of(second, attempt.redact), digest("unreadable")))
