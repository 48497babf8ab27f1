"""What a worker and its child processes say to each other arrives as it was meant, and nothing else does."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from jobledger import Dispatch, Retry
from jobledger.application.worker.child_messages import (
    FROM_CHILD,
    Answer,
    Asked,
    Begun,
    Flags,
    FromChild,
    Logged,
    Progressed,
    Told,
    Used,
    ended,
    ending_in,
    error_of,
    raised_by,
)
from jobledger.application.worker.outcomes import Ending, Failed, GivenBack, PutOff, Stopped, Succeeded
from jobledger.application.worker.processes import read_dispatches, write_dispatches
from jobledger.domain.errors import (
    IdempotencyConflict,
    InvalidInput,
    JobledgerError,
    LedgerError,
    RetryAfter,
    SoftTimeout,
    UnknownTenant,
)
from jobledger.domain.job import AttemptError
from jobledger.infrastructure.processes.connection import BODY_BYTES_MAX, BrokenFrame, ChildEnd, WorkerEnd

Ends = tuple[WorkerEnd, ChildEnd, socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends of a connection, and their sockets."""
    worker, child = socket.socketpair()
    yield WorkerEnd(worker), ChildEnd(child), worker, child
    worker.close()
    child.close()


@pytest.mark.parametrize(
    "ending",
    [
        Succeeded(b'{"a":1}'), Failed(AttemptError("E", "m", "f", "unrecoverable", 3.5), b"trace"),
        Failed(AttemptError("E", "m", "f")), PutOff(3.5, "why"), GivenBack("why"), Stopped(),
    ],
    ids=lambda ending: type(ending).__name__,
)  # fmt: skip
def test_an_ending_arrives_as_it_was(ends: Ends, ending: Ending) -> None:
    """Every ending, with its body, is the same on the other side."""
    worker, child, *_ = ends
    child.send(*ended(ending))
    received = worker.receive()
    assert received is not None
    message, body = received
    assert message.kind == "ended"
    assert ending_in(message, body) == ending


@pytest.mark.parametrize(
    "message",
    [
        Begun(), Progressed(fraction=0.5, note="né\x00"), Logged(message="line", level="info"), Used(units={"a": 1.5}),
        Asked(number=7, question="record_step", name="first"),
    ],
    ids=lambda message: type(message).__name__,
)  # fmt: skip
def test_what_a_child_says_arrives_as_it_was(ends: Ends, message: FromChild) -> None:
    """Every message of a child is the same on the other side, with its body, and without one."""
    worker, child, *_ = ends
    for body in (None, b"", b"\x00\xff" * 1_000):
        child.send(message, body)
        assert worker.receive() == (message, body)


def test_what_a_worker_says_arrives_as_it_was(ends: Ends) -> None:
    """Answers, errors and flags are the same on the other side."""
    worker, child, *_ = ends
    for message in (Answer(1, b"x"), Answer(2, raised=raised_by(ValueError("no"))), Told(Flags.LOST | Flags.STOPPING)):
        worker.send(message)
        assert child.receive() == message


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("message", field="field", rule="rule", hint="hint"), UnknownTenant("acme"),
        IdempotencyConflict("key", 7), RetryAfter(3.0, "later"), SoftTimeout(2.0),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_an_error_is_raised_again_as_what_it_was(error: JobledgerError) -> None:
    """Class, message, field, rule and hint survive, whatever the class's constructor asks for."""
    again = error_of(raised_by(error))
    assert type(again) is type(error)
    assert (str(again), again.field, again.rule, again.hint) == (str(error), error.field, error.rule, error.hint)


def test_an_error_of_somebody_else_becomes_one_of_ours() -> None:
    """What only one side knows is told, not rebuilt."""
    again = error_of(raised_by(KeyError("x")))
    assert type(again) is LedgerError
    assert "KeyError" in str(again)


@pytest.mark.parametrize(
    "head", [b"", b"{}", b'{"kind":"order"}', b'{"kind":"progressed","fraction":2,"note":""}', b"\x80\x05N."]
)
def test_what_is_no_message_breaks_the_connection(ends: Ends, head: bytes) -> None:
    """A child that went wrong is not believed: least of all a pickle."""
    worker, _, _, child = ends
    child.sendall(struct.pack(">II", len(head), 0) + head)
    with pytest.raises(BrokenFrame):
        worker.receive()


def test_a_frame_beyond_all_limits_is_not_read(ends: Ends) -> None:
    """The length alone is enough to refuse it: nothing is reserved for it."""
    worker, _, _, child = ends
    child.sendall(struct.pack(">II", 2, BODY_BYTES_MAX + 1))
    with pytest.raises(BrokenFrame):
        worker.receive()


def test_the_end_of_a_child_ends_what_it_says(ends: Ends) -> None:
    """Nothing, or half a frame, and then the end: nothing more is received."""
    worker, _, _, child = ends
    child.sendall(b"\x00\x00")
    child.close()
    assert worker.receive() is None


def test_a_full_connection_keeps_nobody_waiting(ends: Ends) -> None:
    """Flags are sent at once or not at all: the thread that tells them watches timeouts, too."""
    worker, child, *_ = ends
    told = Told(Flags.CANCEL_REQUESTED)
    sent = 0
    while worker.send_at_once(told):
        sent += 1
    assert sent > 0
    assert [child.receive() for _ in range(sent)] == [told] * sent
    assert worker.send_at_once(told)


def test_a_copy_of_the_process_cannot_speak_for_it(ends: Ends) -> None:
    """In a process that a handler forked, sending is refused; the frames of the original stay whole."""
    worker, child, *_ = ends
    copy = os.fork()
    if copy == 0:
        try:
            child.send(Begun())
        except InvalidInput:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == 0
    child.send(Begun())
    assert worker.receive() == (Begun(), None)


def test_a_dispatch_keeps_its_options_and_its_payload_as_json() -> None:
    """Options are the same on the other side; the payload is JSON there, for its own type to read."""
    dispatch = Dispatch(
        "a.b", {"when": datetime(2026, 1, 2, tzinfo=UTC), "id": UUID(int=1)}, retry=Retry.fixed(max_attempts=2),
        run_at=datetime(2026, 1, 2, tzinfo=UTC), depends_on=(UUID(int=2),), delay_seconds=1.5, manual=True,
    )  # fmt: skip
    (read,) = read_dispatches(write_dispatches([dispatch]))
    assert read._replace(payload={}) == dispatch._replace(payload={})
    assert read.payload == b'{"when":"2026-01-02T00:00:00Z","id":"00000000-0000-0000-0000-000000000001"}'


def test_numbers_that_json_does_not_have_never_arrive() -> None:
    """NaN is refused where it arrives, whatever sent it."""
    with pytest.raises(ValueError, match="fraction"):
        FROM_CHILD.validate_json(b'{"kind":"progressed","fraction":NaN,"note":""}')
