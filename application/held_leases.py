"""Who holds an attempt: what every message of a remote worker about one is checked against."""

from __future__ import annotations

from jobledger.domain.errors import LeaseLost
from jobledger.domain.job import JobStatus, Lease

from .flow import Flow
from .lease_messages import AttemptMessage, is_covered
from .ports import OpenJob, Queue


class HeldLeases:
    """Finds the rows of attempts that workers say they hold."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def row(self, message: AttemptMessage, flow: Flow) -> OpenJob:
        """The row of the attempt. `LeaseLost` where this worker does not hold it: told alike, whatever the reason."""
        job = self._queue.open_jobs(message.tenant, [message.job_id]).get(message.job_id)
        if job is None or not is_held(job, lease_of(message, flow)):
            raise lost()
        if not is_covered(message.scopes, job.tenant, job.state.queue):
            raise lost()
        return job


def worker_of(name: str, flow: Flow) -> str:
    """The whole name of a remote worker: nobody can name one of another identity."""
    return f"{flow.actor}/{name}"


def lease_of(message: AttemptMessage, flow: Flow) -> Lease:
    """The lease that a message claims to be about."""
    return Lease(worker_of(message.worker, flow), message.attempt)


def is_held(job: OpenJob, lease: Lease) -> bool:
    """Whether the row says that this lease is in force."""
    return job.state.status is JobStatus.IN_PROGRESS and (job.state.worker, job.state.attempt) == lease


def lost() -> LeaseLost:
    """What whoever does not hold an attempt is told; nothing about who does, or whether there is such a job."""
    return LeaseLost(
        "this worker does not hold that attempt of the job, or not any more", field="lease",
        rule="worker and attempt hold the lease", hint="stop working on it: what became of it, its history tells",
    )  # fmt: skip
