"""The filters of lists: from the address to what is asked, and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from jobledger.domain.errors import InvalidInput
from jobledger.domain.identity import Permission
from jobledger.domain.job import JobStatus

from .services import Visitor

WITHIN = {"15m": timedelta(minutes=15), "1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}
WITHIN_WORDS = {"15m": "last 15 minutes", "1h": "last hour", "24h": "last 24 hours", "7d": "last 7 days"}
FILTER_LENGTH_MAX = 500


class Span(NamedTuple):
    """A span of time as the address has it: within the last so much, or from and to (UTC, both optional)."""

    within: str
    since: str
    until: str

    def bounds(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        """From (inclusive) and to (exclusive). Raises `InvalidInput` for what is no time."""
        if self.within in WITHIN:
            return now - WITHIN[self.within], None
        return _moment(self.since, "from"), _moment(self.until, "to")


class JobFilters(NamedTuple):
    """What the job list is filtered by, as the address has it; empty does not filter."""

    status: str = ""
    job_type: str = ""
    queue: str = ""
    persona: str = ""
    failed: bool = False
    span: Span = Span("", "", "")

    @property
    def query(self) -> dict[str, object]:
        """The same for an address."""
        return {
            "status": self.status, "type": self.job_type, "queue": self.queue, "persona": self.persona,
            "failed": "1" if self.failed else "", "within": self.span.within, "from": self.span.since,
            "to": self.span.until,
        }  # fmt: skip

    @property
    def is_any(self) -> bool:
        """Whether anything is filtered."""
        return any(self.query.values())

    def fields(self, now: datetime) -> dict[str, object]:
        """The fields of the query."""
        since, until = self.span.bounds(now)
        return {
            "status": self.status or None, "job_type": self.job_type or None, "queue": self.queue or None,
            "persona": self.persona or None, "failed": True if self.failed else None, "created_from": since,
            "created_to": until,
        }  # fmt: skip


class DlqFilters(NamedTuple):
    """What the dead-letter queue is filtered by."""

    job_type: str = ""
    queue: str = ""
    persona: str = ""
    span: Span = Span("", "", "")

    @property
    def query(self) -> dict[str, object]:
        """The same for an address."""
        return {
            "type": self.job_type, "queue": self.queue, "persona": self.persona, "within": self.span.within,
            "from": self.span.since, "to": self.span.until,
        }  # fmt: skip

    @property
    def is_any(self) -> bool:
        """Whether anything is filtered."""
        return any(self.query.values())

    def fields(self, now: datetime) -> dict[str, object]:
        """The fields of the query."""
        since, until = self.span.bounds(now)
        return {
            "job_type": self.job_type or None, "queue": self.queue or None, "persona": self.persona or None,
            "dead_from": since, "dead_to": until,
        }  # fmt: skip


def job_filters(given: Mapping[str, str], queues: frozenset[str] | None) -> JobFilters:
    """The filters in an address; who may see some queues only looks at one of them."""
    status = _text(given, "status")
    return JobFilters(
        status if status in set(JobStatus) else "", _text(given, "type"), _queue(given, queues),
        _text(given, "persona"), _text(given, "failed") == "1", _span(given),
    )  # fmt: skip


def dlq_filters(given: Mapping[str, str], queues: frozenset[str] | None) -> DlqFilters:
    """The same for the dead-letter queue."""
    return DlqFilters(_text(given, "type"), _queue(given, queues), _text(given, "persona"), _span(given))


def readable_queues(visitor: Visitor, tenant: str) -> frozenset[str] | None:
    """The queues whose jobs the visitor may look at; None: all of them."""
    return visitor.session.identity.queues_for(Permission.READ, tenant)


def _queue(given: Mapping[str, str], queues: frozenset[str] | None) -> str:
    asked = _text(given, "queue")
    return asked or (min(queues) if queues else "")


def _span(given: Mapping[str, str]) -> Span:
    within = _text(given, "within")
    if within in WITHIN:
        return Span(within, "", "")
    return Span("", _text(given, "from"), _text(given, "to"))


def _text(given: Mapping[str, str], name: str) -> str:
    return given.get(name, "").strip()[:FILTER_LENGTH_MAX].replace("\x00", "")


def _moment(text: str, name: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput("that is no time", field=name, rule="2026-03-01T09:30, in UTC") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
