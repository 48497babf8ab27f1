"""A job's history in words: the reasons and inputs of every decision."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from jobledger.application.queries import History
from jobledger.domain import job as jobs
from jobledger.domain.event import Facts, Metadata, RecordedEvent
from jobledger.domain.job import JOB_FACTS
from jobledger.domain.retry import Retry
from jobledger.infrastructure.shapes.history_pages import read_page
from jobledger.infrastructure.shapes.texts import duration_text
from jobledger.infrastructure.shapes.timeline import Entry, folded, folded_count, policy_text, timeline, why

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
ABOUT: dict[str, Any] = {"job_type": "invoice.send", "queue": "billing", "persona": "robot"}
JOB = UUID("0198c7c0-0000-7000-8000-000000000001")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (jobs.JobDispatched(**ABOUT, due_at=AT, manual=True, reason="a customer called"), "by hand: a customer called"),
        (jobs.JobDispatched(**ABOUT, due_at=AT, status="delayed"), "not before 2026-03-01 09:30:00"),
        (jobs.JobDispatched(**ABOUT, due_at=AT, idempotency_key="k-1", lock_key="l-1"), "key k-1, lock l-1"),
        (jobs.JobReleased(**ABOUT, dependency=JOB), f"by job {JOB}"),
        (jobs.JobStarted(**ABOUT, attempt=2, worker="w", code_version="c1", lease_seconds=30), "attempt 2, code c1"),
        (jobs.JobStarted(**ABOUT, attempt=1, worker="w", code_version="", lease_seconds=5), "attempt 1, lease 5 s"),
        (jobs.JobProgressed(**ABOUT, attempt=1, fraction=0.5, note="half"), "50% half"),
        (jobs.JobLogged(**ABOUT, attempt=1, level="info", line_count=3), "3 lines, info"),
        (jobs.JobLogged(**ABOUT, attempt=1, level="info", line_count=1), "1 line, info"),
        (
            jobs.JobFailed(
                **ABOUT, attempt=1, worker="w", error_type="UndefinedTable", fingerprint="f",
                recoverable=True, message='relation "payments" does not exist\nLINE 1: INSERT INTO payments\n        ^',
            ),
            'UndefinedTable: relation "payments" does not exist ...; waited',
        ),
        (jobs.JobStepRecorded(**ABOUT, attempt=1, step="mail", key="k"), "step mail; it never runs again"),
        (jobs.JobCancelRequested(**ABOUT, attempt=1, reason="wrong customer"), "wrong customer"),
        (
            jobs.JobCompleted(
                **ABOUT, attempt=1, worker="w", seconds_in_queue=2.5, seconds_running=90, estimated_cost=0.25,
                rate_card_version="2026-01",
            ),
            "waited 2.5 s, ran 1 min 30 s, cost 0.25 (rates 2026-01)",
        ),
        (
            jobs.JobFailed(
                **ABOUT, attempt=1, worker="w", error_type="NeverRetry", message="closed", fingerprint="f",
                recoverable=False,
            ),
            "NeverRetry: closed (no retry can help)",
        ),
        (
            jobs.JobRetried(
                **ABOUT, next_attempt=3, due_at=AT, delay_seconds=2.28, policy=Retry(), jitter=0.57, attempts_counted=2
            ),
            "exponential, 2 s doubling to 1 h, full jitter 0.57; 2 of 5 attempts used",
        ),
        (
            jobs.JobRetried(
                **ABOUT, next_attempt=2, due_at=AT, delay_seconds=60, policy=Retry(), jitter=0.1, attempts_counted=1,
                asked_by_handler=True,
            ),
            "asked for by the handler; 1 of 5",
        ),
        (jobs.JobStalled(**ABOUT, attempt=1, worker="w", last_seen_at=AT), "lease expired, last seen 2026-03-01"),
        (jobs.JobInterrupted(**ABOUT, attempt=1, worker="w", why="deploy"), "given back, it does not count: deploy"),
        (jobs.JobSnoozed(**ABOUT, attempt=1, due_at=AT, why="circuit open"), "does not count: circuit open"),
        (
            jobs.JobRescheduled(**ABOUT, priority=5, due_at=AT, status="pending", reason="urgent"),
            "priority 5, due 2026-03-01 09:30:00 UTC: urgent",
        ),
        (jobs.JobCancelled(**ABOUT, reason="not needed"), "not needed"),
        (
            jobs.JobSentToDlq(
                **ABOUT, reason="attempts_exhausted", attempt=5, error_type="Timeout", message="no answer",
                fingerprint="f",
            ),
            "all attempts are used up, after attempt 5: Timeout: no answer",
        ),
        (
            jobs.JobRequeued(
                **ABOUT, reason="fixed", ticket="OPS-1", attempts_granted=2, payload_edited=True, due_at=AT
            ),
            "2 more attempts, payload edited: fixed (OPS-1)",
        ),
        (jobs.JobDiscarded(**ABOUT, reason="customer left"), "customer left"),
    ],
)  # fmt: skip
def test_every_decision_says_why(facts: Facts, words: str) -> None:
    """One sentence names the reasons and inputs that were recorded."""
    assert words in why(facts)


def test_no_event_of_a_job_is_without_words() -> None:
    """A new event needs its sentence, too."""
    from jobledger.infrastructure.shapes import timeline as module

    assert set(module._EXPLAIN) == set(JOB_FACTS)


def test_a_timeline_counts_from_one_event_to_the_next() -> None:
    """The first has nothing before it."""
    metadata = Metadata(correlation_id="c", trace_parent=f"00-{'1' * 32}-{'2' * 16}-01", actor="a", time=AT)
    facts = jobs.JobCancelled(**ABOUT, reason="x")
    events = [
        RecordedEvent(JOB, version, "acme", version, AT.replace(second=version * 2), facts.topic, facts, metadata)
        for version in (1, 2)
    ]
    assert [entry.seconds for entry in timeline(events)] == [None, 2.0]


def history(*told: tuple[float, Facts], first: int = 1) -> list[RecordedEvent]:
    """Events of one job, so many seconds after the beginning."""
    metadata = Metadata(correlation_id="c", trace_parent=f"00-{'1' * 32}-{'2' * 16}-01", actor="a", time=AT)
    return [
        RecordedEvent(JOB, version, "acme", version, AT + timedelta(seconds=seconds), facts.topic, facts, metadata)
        for version, (seconds, facts) in enumerate(told, start=first)
    ]


STARTED = jobs.JobStarted(**ABOUT, attempt=1, worker="w", code_version="c", lease_seconds=30)
INTERRUPTED = jobs.JobInterrupted(**ABOUT, attempt=1, worker="w", why="deploy")
HALF = jobs.JobProgressed(**ABOUT, attempt=1, fraction=0.5, note="half")
LOGGED = jobs.JobLogged(**ABOUT, attempt=1, level="info", line_count=3)
RETRIED = jobs.JobRetried(
    **ABOUT, next_attempt=2, due_at=AT, delay_seconds=1, policy=Retry(max_attempts=2), jitter=0, attempts_counted=3
)


def test_an_attempt_is_measured_from_its_start_to_its_ending() -> None:
    """Also where its start is on the page before; where that is not known, nothing is said."""
    entries = timeline(history((0, STARTED), (1, HALF), (90, INTERRUPTED)))
    assert [entry.attempt_seconds for entry in entries] == [None, None, 90.0]
    assert entries[-1].why.endswith("; the attempt took 1 min 30 s")
    past = history((0, STARTED), (1, HALF), (90, INTERRUPTED))
    (entry,) = timeline(past[2:], before=past[:2])
    assert (entry.seconds, entry.attempt_seconds) == (89.0, 90.0)
    (entry,) = timeline(past[2:])
    assert (entry.seconds, entry.attempt_seconds) == (None, None)


def test_a_retry_says_how_many_attempts_the_job_has_after_a_requeue() -> None:
    """The policy has two; a person granted more. Without the beginning of the history the policy is all there is."""
    born = jobs.JobDispatched(**ABOUT, due_at=AT, retry=Retry(max_attempts=2))
    requeued = jobs.JobRequeued(**ABOUT, reason="fixed", attempts_granted=4, due_at=AT)
    past = history((0, born), (1, STARTED), (2, STARTED), (3, requeued), (4, STARTED), (5, RETRIED))
    assert timeline(past)[-1].why.endswith("3 of 6 attempts used")
    assert timeline(past[4:])[-1].why.endswith("3 of 2 attempts used")


def test_runs_of_progress_and_logs_are_one_line() -> None:
    """It says how many, the last report, how many lines, and which versions; one alone stays as it is."""
    told = folded(timeline(history((0, STARTED), (1, HALF), (2, LOGGED), (4, LOGGED), (5, INTERRUPTED))))
    assert [entry.what for entry in told] == ["started", "progressed x3", "interrupted"]
    assert told[1].why == "1 progress report, the last 50% half; 6 log lines; in 3 s (versions 2 to 4)"
    assert (told[1].seconds, told[1].last.originator_version) == (1.0, 4)
    told = folded(timeline(history((0, STARTED), (1, HALF), (2, INTERRUPTED), (3, LOGGED), (4, LOGGED))))
    assert [entry.what for entry in told] == ["started", "progressed", "interrupted", "logged x2"]


@pytest.mark.parametrize("number", range(8))
def test_lines_are_counted_as_they_are_folded(number: int) -> None:
    """However many events a history has, as many lines are counted as are made."""
    told = history(
        *((float(n), facts) for n, facts in enumerate((STARTED, HALF, LOGGED, HALF, STARTED, HALF, STARTED)))
    )
    assert folded_count(told[:number]) == len(folded(timeline(told[:number])))


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
@pytest.mark.parametrize("fold", [True, False])
def test_pages_say_everything_once(limit: int, fold: bool) -> None:
    """Page after page, folded or not, each event appears on one of them, and durations go on between them."""
    facts = [(float(n), STARTED if n % 40 == 0 else HALF if n % 3 else LOGGED) for n in range(130)]
    past = history(*facts)

    def read(after: int, number: int) -> History:
        found = past[after : after + number]
        return History(JOB, tuple(found), found[-1].originator_version if after + number < len(past) else None)

    after: int | None = 0
    told: list[Entry] = []
    while after is not None:
        page = read_page(read, after=after, limit=limit, fold=fold)
        assert len(page.entries) <= limit
        told += page.entries
        after = page.next_version
    events = [event for entry in told for event in (entry.run or (entry.event,))]
    assert events == past
    assert [entry.seconds for entry in told[1:]] == [1.0] * (len(told) - 1)
    assert len(told) == (8 if fold else 130)


@pytest.mark.parametrize(
    ("retry", "text"),
    [
        (Retry.linear(), "linear, 10 s more each time up to 1 h, no jitter"),
        (Retry.fixed(base_seconds=5), "fixed, 5 s, no jitter"),
        (Retry.delays(1, 60), "list, 1 s, 1 min, no jitter"),
    ],
)
def test_a_policy_reads_as_a_person_would_say_it(retry: Retry, text: str) -> None:
    """Units are written out."""
    assert policy_text(retry) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0004, "0.4 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (12.34, "12.3 s"),
        (60.9, "1 min"),
        (125, "2 min 5 s"),
        (3_659, "1 h"),
        (10_930, "3 h 2 min"),
        (86_400, "1 d"),
        (349_200, "4 d 1 h"),
    ],
)
def test_durations_have_the_unit_that_fits(seconds: float, text: str) -> None:
    """From milliseconds to days."""
    assert duration_text(seconds) == text
