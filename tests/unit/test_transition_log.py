"""One structured log event for each transition, however many a commit has to tell."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
import structlog

from jobledger.application.transitions import TransitionLog
from jobledger.application.writes import AppendEvents, ChangeJob, Outcome, WriteStatus
from jobledger.domain.event import Event, Metadata
from jobledger.domain.job import JobCompleted, JobFacts, JobFailed, JobLogged
from jobledger.domain.limit import Limits, QueueLimited, Rate
from jobledger.infrastructure.telemetry import LogFormat, LogLevel, configure_logging

_METADATA = Metadata(
    correlation_id="flow-1", trace_parent=f"00-{'a' * 32}-{'b' * 16}-01", actor="worker:w1",
    time=datetime(2026, 1, 1, tzinfo=UTC),
)  # fmt: skip
_COMPLETED = JobCompleted(
    job_type="noop", queue="default", persona="bot", attempt=1, worker="w1", seconds_in_queue=1.5, seconds_running=0.1
)
_FAILED = JobFailed(
    job_type="noop", queue="default", persona="bot", attempt=1, worker="w1", error_type="ValueError", message="no é",
    fingerprint="f", recoverable=True,
)  # fmt: skip
_LOGGED = JobLogged(job_type="noop", queue="default", persona="bot", attempt=1, level="info", line_count=2)


class _Stream(io.StringIO):
    """Counts how often it was written to."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


@pytest.fixture
def stream() -> Iterator[_Stream]:
    yield _Stream()
    structlog.reset_defaults()


def _configure(stream: _Stream, *, level: LogLevel = "info", form: LogFormat = "json") -> None:
    configure_logging(level=level, form=form, stream=stream)


def _ended(*facts: JobFacts) -> list[ChangeJob]:
    return [_change(uuid4(), fact) for fact in facts]


def _change(job_id: UUID, facts: JobFacts) -> ChangeJob:
    return ChangeJob(job_id, "acme", (Event(job_id, 0, "acme", _METADATA, facts),), None)


def _written(count: int) -> list[Outcome]:
    return [Outcome(WriteStatus.WRITTEN, position=number, version=3) for number in range(count)]


def _lines(stream: _Stream) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_transition_of_a_commit_is_one_line_and_all_are_one_write(stream: _Stream) -> None:
    """Three endings in one commit are three JSON lines with their fields, handed to the stream at once."""
    _configure(stream)
    changes = _ended(_COMPLETED, _FAILED, _COMPLETED)
    TransitionLog().committed(changes, _written(3))
    assert stream.writes == 1
    first, second, _ = _lines(stream)
    assert first["event"] == "job.completed"
    assert first["job_id"] == str(changes[0].job_id)
    assert {name: first[name] for name in ("tenant", "version", "position", "attempt", "level")} == {
        "tenant": "acme", "version": 3, "position": 0, "attempt": 1, "level": "info",
    }  # fmt: skip
    assert (second["level"], second["message"]) == ("warning", "no é")


def test_what_was_not_stored_is_not_told(stream: _Stream) -> None:
    """A write in conflict leaves no line."""
    _configure(stream)
    TransitionLog().committed(_ended(_COMPLETED), [Outcome(WriteStatus.CONFLICT)])
    assert _lines(stream) == []


def test_the_level_filters(stream: _Stream) -> None:
    """At level warning only the failure is told; at info, log lines of jobs (debug) are not."""
    _configure(stream, level="warning")
    TransitionLog().committed(_ended(_COMPLETED, _FAILED, _LOGGED), _written(3))
    assert [line["event"] for line in _lines(stream)] == ["job.failed"]


def test_for_people_it_reads_the_same(stream: _Stream) -> None:
    """On a terminal each transition is a line of the console's form."""
    _configure(stream, form="console")
    TransitionLog().committed(_ended(_COMPLETED, _FAILED), _written(2))
    first, second = stream.getvalue().splitlines()
    assert "job.completed" in first
    assert "job.failed" in second


def test_a_program_with_a_configuration_of_its_own_gets_them_one_by_one() -> None:
    """structlog's own test helper, or any other processors, see each event."""
    with structlog.testing.capture_logs() as captured:
        TransitionLog().committed(_ended(_COMPLETED, _FAILED), _written(2))
    assert [event["event"] for event in captured] == ["job.completed", "job.failed"]


def test_a_program_that_configured_nothing_hears_of_trouble_only(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """stdout belongs to the program: without a configuration of structlog, warnings and errors go to the standard
    library's logging, which shows them on stderr."""
    structlog.reset_defaults()
    TransitionLog().committed(_ended(_COMPLETED, _FAILED), _written(2))
    assert capsys.readouterr().out == ""
    assert ("job.failed" in caplog.text, "job.completed" in caplog.text) == (True, False)


def test_text_that_is_not_unicode_does_not_stop_the_log(stream: _Stream) -> None:
    """A lone surrogate in an error's message is escaped."""
    _configure(stream)
    TransitionLog().committed(_ended(_FAILED.model_copy(update={"message": "\ud800"})), _written(1))
    assert _lines(stream)[0]["message"] == "\ud800"


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_jobs_say_does_not_speak_to_the_terminal(stream: _Stream, form: LogFormat) -> None:
    """Neither in messages nor in tracebacks: escaped in JSON, replaced for people."""
    _configure(stream, form=form)
    evil = "\x1b[2J\x9b31m\u202egone"
    TransitionLog().committed(_ended(_FAILED.model_copy(update={"message": evil})), _written(1))
    try:
        raise ValueError(evil)
    except ValueError:
        structlog.get_logger().exception("handler.broke")
    said = stream.getvalue()
    assert said.count("gone") >= 2 and not set(said) & {"\x1b", "\x9b", "\u202e"}
    if form == "json":
        assert _lines(stream)[0]["message"] == evil


def test_a_change_of_limits_says_of_what_and_to_what(stream: _Stream) -> None:
    """In words, with the reason: whoever reads the log sees why jobs start less often."""
    _configure(stream)
    limits = Limits(concurrency=5, rate=Rate(count=100, seconds=60))
    facts = QueueLimited(subject="billing", reason="agreed", limits=limits)
    event = Event(uuid4(), 1, "system", _METADATA, facts)
    TransitionLog().committed([AppendEvents((event,))], [Outcome(WriteStatus.WRITTEN, 7, 1)])
    told = json.loads(stream.getvalue())
    assert (told["event"], told["subject"], told["reason"]) == ("queue.limited", "billing", "agreed")
    assert told["limits"] == "5 at a time, 100/60s"
