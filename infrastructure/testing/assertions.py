"""What a test says about jobs, with failures that list what was there instead."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TypedDict, Unpack
from uuid import UUID

from pydantic import BaseModel

from jobledger.application.commands import Receipt
from jobledger.domain.errors import NotFound
from jobledger.domain.job import DlqReason, JobStatus

from .seen_job import SeenJob, SeenJobs

JobLike = Receipt | SeenJob | UUID | str
"""A receipt, a job, a job's id or the end of it (at least eight characters)."""
PayloadLike = Mapping[str, object] | BaseModel | Callable[[Mapping[str, object]], bool]
"""Fields that the payload has to hold (it may hold more), a model that it has to equal, or a predicate."""

_TRACEBACK_LINES = 12


class Wanted(TypedDict, total=False):
    """Which jobs are meant; what is absent does not filter."""

    type: str
    tenant: str
    persona: str | None
    queue: str
    status: JobStatus | str
    payload: PayloadLike


class JobAssertions(ABC):
    """The assertions of `InMemoryLedger`. Each returns the jobs it found, for further looks."""

    def assert_dispatched(self, *, times: int | None = None, **wanted: Unpack[Wanted]) -> SeenJobs:
        """Such a job was dispatched: at least once, or exactly so many `times`. Duplicates of a key count once."""
        __tracebackhide__ = True
        found = self._find(wanted)
        if len(found) == 0 if times is None else len(found) != times:
            expected = "at least one" if times is None else str(times)
            raise AssertionError(f"{found.summary}, expected {expected}\n{self._overview()}")
        return found

    def assert_not_dispatched(self, **wanted: Unpack[Wanted]) -> None:
        """No such job was dispatched."""
        __tracebackhide__ = True
        found = self._find(wanted)
        if found:
            raise AssertionError(f"{found.summary}, expected none:{found}")

    def assert_completed(self, job: JobLike | None = None, **wanted: Unpack[Wanted]) -> SeenJobs:
        """The job completed, or all jobs that are meant did (and there is at least one)."""
        __tracebackhide__ = True
        jobs = self._meant(job, wanted)
        for seen in jobs:
            if seen.status is not JobStatus.COMPLETED:
                raise AssertionError(f"a job is {seen.status}, not completed:\n{self._story(seen)}")
        return jobs

    def assert_dead(
        self, job: JobLike | None = None, *, reason: DlqReason | None = None, **wanted: Unpack[Wanted]
    ) -> SeenJobs:
        """The job is in the dead-letter queue (for this reason), or all jobs that are meant are."""
        __tracebackhide__ = True
        jobs = self._meant(job, wanted)
        for seen in jobs:
            if seen.status is not JobStatus.DLQ:
                raise AssertionError(f"a job is {seen.status}, not dead:\n{self._story(seen)}")
            if reason not in (None, seen.dlq_reason):
                raise AssertionError(f"a job is dead: {seen.dlq_reason}, not {reason}:\n{self._story(seen)}")
        return jobs

    # --- what the ledger supplies ------------------------------------------------------------------------------------

    @abstractmethod
    def _seen(self) -> SeenJobs:
        """All jobs."""

    @abstractmethod
    def _refusals(self) -> list[str]:
        """Dispatches that were refused, a line each."""

    @abstractmethod
    def _why_not_run(self, job: SeenJob) -> str:
        """Why a job waits, or nothing."""

    # --- finding -----------------------------------------------------------------------------------------------------

    def _one(self, job: JobLike) -> SeenJob:
        """The job that is meant. Raises `NotFound`."""
        if isinstance(job, SeenJob):
            job = job.job_id
        job_id = job.job_id if isinstance(job, Receipt) else job
        for seen in self._seen():
            if seen.job_id == job_id or (isinstance(job_id, str) and _ends_with(seen.job_id, job_id)):
                return seen
        raise NotFound(f"there is no job {job_id}", field="job", rule="is a job of this ledger")

    def _find(self, wanted: Wanted) -> SeenJobs:
        return SeenJobs((job for job in self._seen() if _fits(job, wanted)), _asked(wanted))

    def _meant(self, job: JobLike | None, wanted: Wanted) -> SeenJobs:
        __tracebackhide__ = True
        if job is not None:
            return SeenJobs([self._one(job)])
        found = self._find(wanted)
        if not found:
            raise AssertionError(f"{found.summary}\n{self._overview()}")
        return found

    # --- telling -----------------------------------------------------------------------------------------------------

    def _overview(self) -> str:
        """Everything there is, for a failure message."""
        jobs, refusals = self._seen(), self._refusals()
        text = f"what was dispatched:{jobs}" if jobs else "nothing was dispatched"
        return text + "".join(f"\nrefused: {refusal}" for refusal in refusals)

    def _story(self, job: SeenJob) -> str:
        """What became of one job, for a failure message."""
        lines = [f"  {job}", f"  events: {', '.join(job.events)}"]
        lines += [f"  attempt failed: {error}" for error in job.errors]
        if why := self._why_not_run(job):
            lines.append(f"  {why}")
        if job.traceback:
            lines += [f"  | {line}" for line in job.traceback.splitlines()[-_TRACEBACK_LINES:]]
        return "\n".join(lines)


def _fits(job: SeenJob, wanted: Wanted) -> bool:
    about = {
        "type": job.job_type, "tenant": job.tenant, "persona": job.persona, "queue": job.queue, "status": job.status,
    }  # fmt: skip
    plain = all(about[name] == value for name, value in wanted.items() if name != "payload")
    return plain and ("payload" not in wanted or _holds(job.payload, wanted["payload"]))


def _holds(payload: Mapping[str, object], wanted: PayloadLike) -> bool:
    if isinstance(wanted, BaseModel):
        return dict(payload) == wanted.model_dump(mode="json", by_alias=True)
    if isinstance(wanted, Mapping):
        return all(name in payload and payload[name] == value for name, value in wanted.items())
    return wanted(payload)


def _asked(wanted: Wanted) -> str:
    said = [f"{name}={value!r}" for name, value in wanted.items()]
    return f" with {', '.join(said)}" if said else ""


def _ends_with(job_id: UUID, reference: str) -> bool:
    digits = reference.replace("-", "").lower()
    return len(digits) >= 8 and job_id.hex.endswith(digits)
