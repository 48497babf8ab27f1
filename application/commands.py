"""What one can ask jobledger to do. Frozen; checked by pydantic, field by field, before a handler sees them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple, Self
from uuid import UUID

from pydantic import Field, JsonValue, SkipValidation, model_validator

from jobledger.domain.job import JobStatus
from jobledger.domain.job_type import JobTypeDefinition
from jobledger.domain.moment import Moment
from jobledger.domain.priority import Priority
from jobledger.domain.tenant import TenantName

from .dispatch_item import Dispatch, Malformed
from .message import NO_NUL, Command, JobReference
from .result import Result

Reason = Annotated[str, Field(pattern=NO_NUL, max_length=1_000)]
Ticket = Annotated[str, Field(pattern=NO_NUL, min_length=1, max_length=120)]
Attempts = Annotated[int, Field(ge=1, le=1_000)]


class Receipt(NamedTuple):
    """A dispatch that was taken. `position` is None inside a caller's transaction that has not committed;
    `duplicate` says that the key was used before and `job_id` is the first job."""

    job_id: UUID
    position: str | None
    duplicate: bool = False


class DispatchJob(Command[Receipt]):
    """Dispatch one job. With `connection` (an open psycopg or sqlite3 connection of the caller's) it is written in
    that transaction, and commits or vanishes with it."""

    item: SkipValidation[Dispatch]
    connection: SkipValidation[object] = Field(default=None, repr=False)


class ItemResult(NamedTuple):
    """What became of one item of a batch; `line` is its line or, where it has none, its number from 1."""

    line: int
    result: Result[Receipt]


class BulkReceipt(NamedTuple):
    """What became of a batch. `results` is in the order of the items; without `keep_accepted` it holds refusals only.
    `position` is the last one reached."""

    accepted: int
    duplicates: int
    refused: int
    results: tuple[ItemResult, ...]
    position: str | None


class DispatchJobs(Command[BulkReceipt]):
    """Dispatch many jobs, each accepted or refused on its own. `items` may be a generator of any length: it is
    consumed in chunks."""

    items: SkipValidation[Iterable[Dispatch | Malformed]] = Field(repr=False)
    keep_accepted: bool = True


class JobChanged(NamedTuple):
    """A job after a command: its status, and its version in the ledger."""

    job_id: UUID
    status: JobStatus
    version: int


class JobCommand(Command[JobChanged]):
    """A command about one job, named by its id or by the last eight characters of it. With `expected_version` it is
    carried out on the job as somebody saw it, or refused."""

    tenant: TenantName
    job: JobReference
    reason: Reason = ""
    expected_version: Annotated[int, Field(ge=1)] | None = None


class CancelJob(JobCommand):
    """A waiting job is cancelled; a running one is asked to stop."""


class RescheduleJob(JobCommand):
    """Change a job's priority, or when it runs."""

    priority: Priority | None = None
    due_at: Moment | None = None


class RequeueJob(JobCommand):
    """Take a job out of the DLQ: new attempts, and an edited payload where one is given (validated again)."""

    ticket: Ticket | None = None
    attempts: Attempts | None = None
    payload: dict[str, JsonValue] | None = Field(default=None, repr=False)
    """Runs instead of the job's own. Or change a few places of that one:"""
    put: dict[str, JsonValue] = Field(default={}, repr=False)
    """New values by JSON pointer (`/customer/email`)."""
    without: tuple[str, ...] = ()
    """JSON pointers to what is taken out."""

    @model_validator(mode="after")
    def _one_way_to_edit(self) -> Self:
        if self.payload is not None and (self.put or self.without):
            raise ValueError("a whole payload, or places of it: not both")
        return self


class DiscardJob(JobCommand):
    """Give a job in the DLQ up for good."""

    ticket: Ticket | None = None


class UpdateJobStatus(JobCommand):
    """Bring a job to a status, where there is a decision that does: the one public command of R0.3.

    `pending` and `delayed` (with `due_at`) reschedule a waiting job or requeue a dead one, `cancelled`, `discarded`
    and `dlq` take it out of work. `completed` and `failed` end a running attempt and name `worker` and `attempt`;
    a completion may carry its `result`. An illegal move is refused and names both statuses.
    """

    status: JobStatus | Literal["failed"]
    due_at: Moment | None = None
    worker: Annotated[str, Field(pattern=NO_NUL, max_length=200)] | None = None
    attempt: Annotated[int, Field(ge=1)] | None = None
    result: JsonValue = Field(default=None, repr=False)
    error_type: Annotated[str, Field(pattern=NO_NUL, min_length=1, max_length=200)] = "ReportedFailure"


class TenantChanged(NamedTuple):
    """A tenant after a command."""

    name: str
    status: str


class CreateTenant(Command[TenantChanged]):
    """Create a tenant; its name is its id, for ever."""

    name: TenantName
    display_name: Annotated[str, Field(pattern=NO_NUL, max_length=200)] = ""
    reason: Reason = ""


class SuspendTenant(Command[TenantChanged]):
    """Take and run no jobs for a tenant until it is resumed."""

    name: TenantName
    reason: Reason = ""


class ResumeTenant(Command[TenantChanged]):
    """Take and run jobs for a tenant again."""

    name: TenantName
    reason: Reason = ""


class JobTypesRegistered(NamedTuple):
    """The names of the types whose definition is new or changed."""

    changed: tuple[str, ...]


class RegisterJobTypes(Command[JobTypesRegistered]):
    """Publish a program's job types, so that clients without its code can dispatch them."""

    app: Annotated[str, Field(pattern=NO_NUL, min_length=1, max_length=120)]
    code_version: Annotated[str, Field(pattern=NO_NUL, min_length=1, max_length=120)]
    definitions: tuple[JobTypeDefinition, ...]
