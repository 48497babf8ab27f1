"""Lanes of a list: rows that are alike in what can be asked for. A page is made of the newest of each lane.

What few values are known of (statuses, kinds, reasons) is looked up value by value; queues, whose names nobody here
knows, from one to the next. So a page costs a look into the index for each lane, whether there is such a job or not.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple, get_args

from jobledger.application.ports import JobFilter
from jobledger.domain.dlq import DlqFilter
from jobledger.domain.job import DlqReason, JobKind, JobStatus

_STATUSES = tuple(status.value for status in JobStatus)
_KINDS: tuple[str, ...] = get_args(JobKind)
_REASONS: tuple[str, ...] = get_args(DlqReason)
_FIRST_NAME, _LAST_NAME = "", "\U0010ffff"
"""All names lie between these."""


class Queues(NamedTuple):
    """From one name to another, both included: the one that is asked for, or all."""

    first: str
    last: str


class JobLanes(NamedTuple):
    """Which lanes of a list of jobs are asked for."""

    statuses: tuple[str, ...]
    failed: tuple[bool, ...]
    kinds: tuple[str, ...]
    queues: Queues


class DeadLanes(NamedTuple):
    """Which lanes of the dead-letter queue are asked for."""

    reasons: tuple[str, ...]
    kinds: tuple[str, ...]
    queues: Queues


def job_lanes(where: JobFilter) -> JobLanes:
    """The lanes that a filter asks for."""
    return JobLanes(
        _STATUSES if where.status is None else (where.status.value,),
        (False, True) if where.failed is None else (where.failed,),
        _KINDS if where.kind is None else (where.kind,),
        _queues(where.queue),
    )


def dead_lanes(where: DlqFilter) -> DeadLanes:
    """The same of the dead-letter queue."""
    return DeadLanes(
        _REASONS if where.reason is None else (where.reason,),
        _KINDS if where.kind is None else (where.kind,),
        _queues(where.queue),
    )


class Reading(Enum):
    """How a page is put together."""

    IN_ORDER = auto()
    """One index has the rows in the order of the pages."""
    IN_LANES = auto()
    OF_TYPE = auto()
    """In lanes of one job type."""


def reading_jobs(where: JobFilter) -> Reading:
    """How the page of a list of jobs is read."""
    if where.job_type is not None:
        return Reading.OF_TYPE
    asked = (where.status, where.failed, where.kind, where.queue)
    return Reading.IN_ORDER if all(value is None for value in asked) else Reading.IN_LANES


def reading_the_dead(where: DlqFilter) -> Reading:
    """The same of the dead-letter queue. Personas, errors and fingerprints are many: each has the order of the pages in
    an index of its own, and so has the type."""
    many, few = (where.persona, where.error_type, where.fingerprint), (where.reason, where.kind, where.queue)
    if any(value is not None for value in many) or all(value is None for value in few):
        return Reading.IN_ORDER
    return Reading.IN_LANES if where.job_type is None else Reading.OF_TYPE


def _queues(name: str | None) -> Queues:
    return Queues(_FIRST_NAME, _LAST_NAME) if name is None else Queues(name, name)
