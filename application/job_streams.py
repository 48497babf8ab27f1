"""The streams of jobs, however long they are: what decides, page by page, and not the noise in between.

A job may report progress and log for days: a hundred thousand events of which a dozen say where it stands. Folds pass
over the others, so they are not even fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from jobledger.domain.errors import InvalidInput, NotFound
from jobledger.domain.event import RecordedEvent
from jobledger.domain.identifiers import short_id
from jobledger.domain.job import JobDispatched, JobLogged, JobProgressed, JobStarted, JobStepRecorded

from .past_jobs import Past
from .ports import EventReader, StreamPart

PAGE = 1_000
"""Events that one statement reads; a stream that is no longer is read as it is."""
NOISE = frozenset(facts.topic for facts in (JobProgressed, JobLogged, JobStepRecorded))
"""Events that no state depends on. Of progress, the last report counts."""


class JobThen(NamedTuple):
    """The events of a job that decide, the last of all among them; with `past`, up to an earlier moment."""

    events: list[RecordedEvent]
    past: Past | None


class JobStreams:
    """Reads what a job comes to, now or then."""

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader

    def job(self, tenant: str, job_id: UUID, *, until_version: int | None = None) -> list[RecordedEvent]:
        """The events of a job that decide, and its last; empty where the tenant has no such job."""
        events = self._beginning(tenant, job_id, PAGE if until_version is None else min(PAGE, until_version))
        if len(events) < PAGE:
            return events
        until = self._reader.last_version(tenant, job_id) if until_version is None else until_version
        while len(page := self._deciding(tenant, job_id, events[-1].originator_version, until)) == PAGE:
            events += page
        events += page
        return _in_order([*events, *self._last_report(tenant, job_id, events, until), *self._at(tenant, job_id, until)])

    def then(self, tenant: str, job_id: UUID, as_of: int | datetime | None) -> JobThen:
        """The same as of a version or a moment; None: as of now.

        Raises `InvalidInput` for a version that the job does not have, `NotFound` for a moment before its first event.
        """
        if as_of is None:
            return JobThen(self.job(tenant, job_id), None)
        if isinstance(as_of, datetime):
            return self._at_moment(tenant, job_id, as_of)
        if as_of < PAGE:
            return self._at_early_version(tenant, job_id, as_of)
        if not (events := self.job(tenant, job_id, until_version=as_of)):
            return JobThen([], None)
        last = self.require_version(tenant, job_id, as_of)
        return JobThen(events, Past(as_of, last - as_of, _recorded_at(self._at(tenant, job_id, as_of + 1))))

    def require_version(self, tenant: str, job_id: UUID, version: int, *, field: str = "as_of") -> int:
        """The last version of a job. Raises `InvalidInput` where it does not have this one (yet)."""
        last = self._reader.last_version(tenant, job_id)
        if version > last:
            raise _no_version(job_id, version, last, field)
        return last

    def _at_early_version(self, tenant: str, job_id: UUID, version: int) -> JobThen:
        read = self._beginning(tenant, job_id, version + 1)
        if read and len(read) < version:
            raise _no_version(job_id, version, len(read), "as_of")
        later = 0 if len(read) <= version else self._reader.last_version(tenant, job_id) - version
        return JobThen(read[:version], Past(version, later, _recorded_at(read[version:])))

    def _at_moment(self, tenant: str, job_id: UUID, moment: datetime) -> JobThen:
        """Before the first event that was recorded later: a clock that was set back leaves no hole."""
        later = self._reader.stream_part(tenant, job_id, StreamPart(recorded_after=moment), limit=1)
        if not later:
            return JobThen(self.job(tenant, job_id), Past(moment, 0, None))
        until = later[0].originator_version - 1
        if until == 0:
            if isinstance(later[0].facts, JobDispatched):
                raise _not_yet(job_id, moment, later[0].recorded_at)
            return JobThen([], None)
        events = self.job(tenant, job_id, until_version=until)
        many = self._reader.last_version(tenant, job_id) - until
        return JobThen(events, Past(moment, many, later[0].recorded_at))

    def _beginning(self, tenant: str, job_id: UUID, limit: int) -> list[RecordedEvent]:
        events = self._reader.stream(tenant, job_id, limit=limit)
        return events if events and isinstance(events[0].facts, JobDispatched) else []

    def _deciding(self, tenant: str, job_id: UUID, after: int, until: int) -> list[RecordedEvent]:
        return self._reader.stream_part(tenant, job_id, StreamPart(after, until, without=NOISE), limit=PAGE)

    def _last_report(
        self, tenant: str, job_id: UUID, events: Sequence[RecordedEvent], until: int
    ) -> list[RecordedEvent]:
        """Of the latest attempt."""
        started = next((event for event in reversed(events) if isinstance(event.facts, JobStarted)), events[0])
        reports = StreamPart(
            started.originator_version, until, topics=frozenset({JobProgressed.topic}), newest_first=True
        )
        return self._reader.stream_part(tenant, job_id, reports, limit=1)

    def _at(self, tenant: str, job_id: UUID, version: int) -> list[RecordedEvent]:
        return self._reader.stream(tenant, job_id, after_version=version - 1, limit=1)


def _in_order(events: Sequence[RecordedEvent]) -> list[RecordedEvent]:
    """By version, each once."""
    found = {event.originator_version: event for event in events}
    return [found[version] for version in sorted(found)]


def _recorded_at(events: Sequence[RecordedEvent]) -> datetime | None:
    return events[0].recorded_at if events else None


def _no_version(job_id: UUID, version: int, last: int, field: str) -> InvalidInput:
    return InvalidInput(
        f"job {short_id(job_id)} has no version {version:,}: its last is {last:,}", field=field,
        rule="is a version of the job", hint=f"jobledger jobs history {short_id(job_id)} shows them",
    )  # fmt: skip


def _not_yet(job_id: UUID, moment: datetime, first: datetime) -> NotFound:
    return NotFound(
        f"job {short_id(job_id)} did not exist at {moment:%Y-%m-%d %H:%M:%S} UTC: it was dispatched at "
        f"{first:%Y-%m-%d %H:%M:%S.%f} UTC", field="as_of", rule="is not before the job's first event",
        hint="ask for a later moment, or for version 1",
    )  # fmt: skip
