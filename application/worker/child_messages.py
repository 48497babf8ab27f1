"""What a worker and a child process that runs handlers say to each other about an attempt.

A child can speak of its own attempt only, and what it says is JSON, checked on arrival, beside at most one body of
bytes: a handler that went wrong cannot make its worker run or record something else.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from jobledger.domain import errors
from jobledger.domain.errors import JobledgerError, LedgerError
from jobledger.domain.job import AttemptError

from ..ports import OpenJob
from .attempt import Attempt
from .failures import clean, message_of
from .outcomes import Committed, Ending, Failed, GivenBack, PutOff, Stopped, Succeeded

# --- what the worker says -------------------------------------------------------------------------------------------


class Flags(IntFlag):
    """What a handler is told while it runs. Flags only ever go up."""

    NONE = 0
    CANCEL_REQUESTED = 1
    SOFT_TIMED_OUT = 2
    LOST = 4
    STOPPING = 8
    ABANDONED = 16


def flags_of(attempt: Attempt) -> Flags:
    """The flags of an attempt."""
    flags = Flags.NONE
    if attempt.cancel_requested:
        flags |= Flags.CANCEL_REQUESTED
    if attempt.soft_timed_out:
        flags |= Flags.SOFT_TIMED_OUT
    if attempt.lost:
        flags |= Flags.LOST
    if attempt.stopping:
        flags |= Flags.STOPPING
    if attempt.abandoned:
        flags |= Flags.ABANDONED
    return flags


def raise_flags(attempt: Attempt, flags: Flags) -> None:
    """Bring a child's attempt in line with the worker's."""
    attempt.cancel_requested |= Flags.CANCEL_REQUESTED in flags
    attempt.soft_timed_out |= Flags.SOFT_TIMED_OUT in flags
    attempt.lost |= Flags.LOST in flags
    attempt.stopping |= Flags.STOPPING in flags
    attempt.abandoned |= Flags.ABANDONED in flags


class Order(NamedTuple):
    """An attempt to run. `memory_limit_bytes` None: no limit."""

    job: OpenJob
    worker: str
    trace_parent: str
    memory_limit_bytes: int | None = None


class Told(NamedTuple):
    """The attempt's flags have changed."""

    flags: Flags


class Raised(NamedTuple):
    """An error of jobledger's own, to be raised again on the other side."""

    error_type: str
    message: str
    field: str | None = None
    rule: str | None = None
    hint: str | None = None


class Answer(NamedTuple):
    """The answer to the question of that number: bytes, nothing, or an error to raise."""

    number: int
    body: bytes | None = None
    raised: Raised | None = None


ToChild = Order | Told | Answer

# --- what the child says --------------------------------------------------------------------------------------------


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Begun(_Message):
    """The handler is about to be called: from here on the attempt counts."""

    kind: Literal["begun"] = "begun"


class Progressed(_Message):
    """The handler reported progress."""

    kind: Literal["progressed"] = "progressed"
    fraction: float = Field(ge=0, le=1)
    note: str


class Logged(_Message):
    """The handler logged."""

    kind: Literal["logged"] = "logged"
    message: str
    level: str


class Used(_Message):
    """What the handler has used so far, by unit."""

    kind: Literal["used"] = "used"
    units: dict[str, float]


class Asked(_Message):
    """A question that the handler waits for. `body`: a step's output, or the jobs to dispatch.

    A child has a transaction of its own (`name`: opened or closed); it takes the reports that wait along with it.
    """

    kind: Literal["asked"] = "asked"
    number: int
    question: Literal["recorded_step", "record_step", "dispatch", "secret", "transaction", "take_reports", "put_back"]
    name: str = ""


class Ended(_Message):
    """How the attempt ended, as the child sees it. The body is the result or the traceback.

    `rss_bytes` is what the process still holds. A `spent` child is not to be used again (the handler left processes
    behind, or closed what the process needs).
    """

    kind: Literal["ended"] = "ended"
    ending: Literal["succeeded", "failed", "put_off", "given_back", "stopped", "committed"]
    error: AttemptError | None = None
    delay_seconds: float = 0.0
    why: str = ""
    cpu_seconds: float = 0.0
    rss_bytes: int = 0
    spent: bool = False
    lost: bool = False
    """The transaction of the attempt found that somebody else holds the job."""


FromChild = Begun | Progressed | Logged | Used | Asked | Ended
FROM_CHILD: TypeAdapter[FromChild] = TypeAdapter(Annotated[FromChild, Field(discriminator="kind")])


class Crashed(NamedTuple):
    """The child is gone without saying how the attempt ended. `status` is that of waitpid, None where nobody knows.

    `begun` False: the handler was not called. `why` is set where the worker ended it itself, `memory_bytes` where it
    did so for using so much.
    """

    status: int | None
    begun: bool
    cpu_seconds: float = 0.0
    why: str = ""
    memory_bytes: int | None = None
    trace: bytes | None = None
    """Where the handler was, as far as the dying interpreter could tell."""


# --- both ways ------------------------------------------------------------------------------------------------------


def ended(ending: Ending) -> tuple[Ended, bytes | None]:
    """An ending as a message with its body."""
    match ending:
        case Succeeded(result):
            return Ended(ending="succeeded"), result
        case Failed(error, trace):
            return Ended(ending="failed", error=error), trace
        case PutOff(delay_seconds, why):
            return Ended(ending="put_off", delay_seconds=delay_seconds, why=why), None
        case GivenBack(why):
            return Ended(ending="given_back", why=why), None
        case Committed():
            return Ended(ending="committed"), None
        case _:
            return Ended(ending="stopped"), None


def ending_in(message: Ended, body: bytes | None) -> Ending:
    """The ending that a message tells of."""
    match message.ending:
        case "succeeded":
            return Succeeded(body or b"")
        case "failed":
            return Failed(message.error or AttemptError("Unknown", "", ""), body)
        case "put_off":
            return PutOff(message.delay_seconds, message.why)
        case "given_back":
            return GivenBack(message.why)
        case "stopped":
            return Stopped()
        case "committed":
            return Committed()


def raised_by(error: BaseException) -> Raised:
    """An error on its way to the other side."""
    if isinstance(error, JobledgerError):
        return Raised(type(error).__name__, error.message, error.field, error.rule, error.hint)
    return Raised(LedgerError.__name__, clean(f"{type(error).__name__}: {message_of(error)}", 2_000))


def error_of(raised: Raised) -> JobledgerError:
    """The error that was raised on the other side, of the class it had; what only that class knows is not carried."""
    found = getattr(errors, raised.error_type, LedgerError)
    error_type = found if isinstance(found, type) and issubclass(found, JobledgerError) else LedgerError
    error = error_type.__new__(error_type)
    JobledgerError.__init__(error, raised.message, field=raised.field, rule=raised.rule, hint=raised.hint)
    return error
