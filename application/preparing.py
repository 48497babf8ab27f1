"""From an item to the write that dispatches it: who, what type, which options, which keys.

Items of one batch mostly ask for the same thing with another payload. What they share (everything but payload, key
and id) is decided once, as a plan, and found again by a tuple; an item then costs a few microseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from jobledger.domain.errors import InvalidInput, NotPermitted, ReasonRequired
from jobledger.domain.event import Event, Metadata
from jobledger.domain.identifiers import check_supplied_id
from jobledger.domain.identity import Permission
from jobledger.domain.job import JobDispatched, JobState, evolve
from jobledger.domain.options import JobOptions, Key, PersonaName, ResolvedOptions, resolve
from jobledger.domain.tenant import TenantName

from .declared_job import KEY_LENGTH_MAX, AcceptedPayload
from .dispatch_item import Dispatch, Malformed
from .flow import Flow
from .known import REMEMBER_SECONDS, KnownTenants, KnownType, KnownTypes
from .message import NO_NUL, CorrelationId
from .ports import Clock, Identifiers
from .secret_shapes import refuse_secrets
from .validation import invalid_input
from .writes import IdempotencyKey, NewJob

Shape = tuple[object, ...]
"""All of an item but payload, key, id, flow, line and the key's prefix."""
_PLANS_MAX = 4_096
_TRACE_PARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_NO_OPTIONS = JobOptions()


def _shape(item: Dispatch) -> Shape:
    return (item[0], *item[2:4], *item[6:17], *item[20:22], item[24])


class OptionDefaults(NamedTuple):
    """Options of the installation and of its queues, below those of job and job type (R3.1)."""

    installation: JobOptions = _NO_OPTIONS
    queues: Mapping[str, JobOptions] = {}


class _Asked(BaseModel):
    """What an item asks for beside its payload; checked where a plan is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_type: Annotated[str, Field(pattern=NO_NUL, max_length=200)]
    tenant: TenantName
    persona: PersonaName | None
    options: JobOptions
    manual: bool
    reason: Annotated[str, Field(pattern=NO_NUL, max_length=1_000)] | None


class _Plan(NamedTuple):
    """What jobs of the same shape share, whenever they are dispatched."""

    asked: _Asked
    known: KnownType
    options: ResolvedOptions
    needs_key: bool
    needs_lock_key: bool
    valid_until: float

    def facts_at(self, now: datetime) -> JobDispatched:
        """The facts of a dispatch at `now`, without keys that come from the payload."""
        options, asked, definition = self.options, self.asked, self.known.definition
        due_at = asked.options.run_at or now + timedelta(seconds=asked.options.delay_seconds or 0.0)
        return JobDispatched(
            job_type=definition.name, queue=options.queue, persona=asked.persona, kind=definition.kind,
            status="delayed" if due_at > now else "pending", priority=options.priority, due_at=due_at,
            retry=options.retry, timeout_seconds=options.timeout_seconds,
            soft_timeout_seconds=options.soft_timeout_seconds, max_stalled=options.max_stalled,
            lock_key=asked.options.lock_key, limit_key=asked.options.limit_key,
            payload_schema=self.known.payload_fingerprint, rate_card_version=definition.rate_card.version,
            manual=asked.manual, reason=asked.reason,
        )  # fmt: skip


class Plans:
    """Makes plans and remembers them as long as what is known of tenants and types; safe for several threads."""

    def __init__(
        self, tenants: KnownTenants, types: KnownTypes, clock: Clock, defaults: OptionDefaults | None = None
    ) -> None:
        self._tenants = tenants
        self._types = types
        self._clock = clock
        self._defaults = defaults or OptionDefaults()
        self._plans: dict[Shape, _Plan] = {}

    def plan(self, item: Dispatch, shape: Shape | None, now: datetime) -> _Plan:
        """The plan of an item; None as shape is never remembered. Raises the `Refusal` that says why there is none."""
        moment = self._clock.monotonic()
        if shape is None:
            return self._make(item, now, moment)
        plan = self._plans.get(shape)
        if plan is None or plan.valid_until < moment:
            plan = self._make(item, now, moment)
            if len(self._plans) >= _PLANS_MAX:
                self._plans.clear()
            self._plans[shape] = plan
        return plan

    def has(self, item: Dispatch) -> bool:
        """Whether the plan of an item is remembered, so that making it asks nobody."""
        try:
            plan = self._plans.get(_shape(item))
        except TypeError:  # a list or a dict in it: never remembered
            return False
        return plan is not None and plan.valid_until >= self._clock.monotonic()

    def _make(self, item: Dispatch, now: datetime, moment: float) -> _Plan:
        asked = _read(item)
        if asked.manual and not (asked.reason or "").strip():
            raise ReasonRequired("a manual dispatch")
        if asked.options.depends_on:
            raise InvalidInput(
                "jobs cannot wait for other jobs in this version", field="depends_on", rule="is not available yet"
            )
        self._tenants.require_active(asked.tenant)
        known = self._types.get(asked.job_type)
        definition, has_code = known.definition, self._types.has_code(asked.job_type)
        options = self._resolve(asked, known, now)
        if item.allowed_queues is not None and options.queue not in item.allowed_queues:
            raise NotPermitted("this identity", Permission.DISPATCH.value, f"in queue {options.queue}")
        return _Plan(
            asked, known, options, valid_until=moment + REMEMBER_SECONDS,
            needs_key=not has_code and definition.idempotency_key_computed and definition.effects is None,
            needs_lock_key=not has_code and definition.lock_key_computed and asked.options.lock_key is None,
        )  # fmt: skip

    def _resolve(self, asked: _Asked, known: KnownType, now: datetime) -> ResolvedOptions:
        """Job, job type, queue, installation: the most specific that says something wins, option by option."""
        job, job_type, installation = asked.options, known.definition.options, self._defaults.installation
        queue = job.queue or job_type.queue or installation.queue
        of_queue = self._defaults.queues.get(queue or "", _NO_OPTIONS)
        return resolve(job, job_type, of_queue, installation, now=now)


class _Shared(NamedTuple):
    """What jobs of the same shape share at one moment."""

    plan: _Plan
    accept: Callable[[object], AcceptedPayload]
    tenant: str
    lock_key: str | None
    limit_key: str | None
    needs_keys: bool
    facts: JobDispatched
    state: JobState


class Preparation:
    """Prepares the items of one command; not for several threads at once."""

    def __init__(self, plans: Plans, identifiers: Identifiers, flow: Flow) -> None:
        self._plans = plans
        self._identifiers = identifiers
        self._flow = flow
        self._metadata = flow.metadata()
        self._shared: dict[Shape, _Shared] = {}

    def at(self, flow: Flow) -> None:
        """Prepare what follows at the flow's moment; batches move it forward from chunk to chunk."""
        self._flow = flow
        self._metadata = flow.metadata()
        self._shared = {}

    def prepare(self, item: Dispatch) -> NewJob:
        """The write that dispatches an item. Raises the `Refusal` that says why not."""
        shared = self._what_is_shared(item)
        body, key, lock_key, limit_key = shared.accept(item.payload)
        refuse_secrets(body)
        if item.idempotency_key is not None:
            key = _given_key(item.idempotency_key)
        elif key is None and item.key_prefix is not None:
            key = f"{item.key_prefix}/{sha256(body).hexdigest()[:32]}"
        if shared.lock_key is not None:
            lock_key = shared.lock_key
        if shared.limit_key is not None:
            limit_key = shared.limit_key
        if shared.needs_keys:
            _require_given(shared.plan, key, lock_key)
        if key is None and item.request_key is not None:
            key = _given_key(item.request_key)
        facts, state = shared.facts, shared.state
        if lock_key is not None or limit_key is not None:
            state = state._replace(lock_key=lock_key, limit_key=limit_key)
        if key is not None or lock_key is not None or limit_key is not None:
            facts = _with_keys(facts, key, lock_key, limit_key)
        job_id = self._identifiers.job_id() if item.job_id is None else _supplied(item.job_id, self._flow.time)
        event = Event(job_id, 1, shared.tenant, self._metadata_of(item), facts, body)
        if key is None:
            return NewJob(event, state)
        return NewJob(event, state, IdempotencyKey(facts.job_type, key, sha256(body).hexdigest()))

    def _what_is_shared(self, item: Dispatch) -> _Shared:
        shape = _shape(item)
        try:
            shared = self._shared.get(shape)
        except TypeError:  # a list or a dict: works, is read anew each time
            return self._share(item, None)
        if shared is None:
            shared = self._shared[shape] = self._share(item, shape)
        return shared

    def _share(self, item: Dispatch, shape: Shape | None) -> _Shared:
        plan = self._plans.plan(item, shape, self._flow.time)
        facts = plan.facts_at(self._flow.time)
        return _Shared(
            plan, plan.known.accept, plan.asked.tenant, plan.asked.options.lock_key, plan.asked.options.limit_key,
            plan.needs_key or plan.needs_lock_key, facts, evolve(None, facts),
        )  # fmt: skip

    def metadata_of_refused(self, item: Dispatch | Malformed) -> Metadata:
        """Whose request a refused item was part of: its own, as far as what it says of that is well-formed."""
        try:
            return self._metadata if isinstance(item, Malformed) else self._metadata_of(item)
        except InvalidInput:
            return self._metadata

    def _metadata_of(self, item: Dispatch) -> Metadata:
        if item.correlation_id is None and item.trace_parent is None and item.causation_id is None:
            return self._metadata
        if item.trace_parent is not None and not _TRACE_PARENT.fullmatch(str(item.trace_parent)):
            raise InvalidInput("not a W3C traceparent", field="trace_parent", rule=_TRACE_PARENT.pattern)
        return self._flow.metadata(
            correlation_id=_of_flow(item.correlation_id, "correlation_id"), trace_parent=item.trace_parent,
            causation_id=_of_flow(item.causation_id, "causation_id"),
        )  # fmt: skip


_ASKED: TypeAdapter[_Asked] = TypeAdapter(_Asked)
_OPTION_NAMES = (
    "queue", "priority", "retry", "timeout_seconds", "soft_timeout_seconds", "max_stalled", "lock_key", "limit_key",
    "run_at", "delay_seconds", "depends_on",
)  # fmt: skip
_JOB_ID: TypeAdapter[UUID] = TypeAdapter(UUID)
_KEY: TypeAdapter[str] = TypeAdapter(Key)
_FLOW: TypeAdapter[str] = TypeAdapter(CorrelationId)


def _read(item: Dispatch) -> _Asked:
    options = {name: value for name in _OPTION_NAMES if (value := getattr(item, name)) is not None}
    fields: dict[str, Any] = {
        "job_type": item.job_type, "tenant": item.tenant, "persona": item.persona, "options": options,
        "manual": item.manual, "reason": item.reason,
    }  # fmt: skip
    try:
        return _ASKED.validate_python(fields)
    except ValidationError as error:
        raise invalid_input(error, drop=("options",)) from error


def _of_flow(value: object, field: str) -> str | None:
    if value is None:
        return None
    try:
        return _FLOW.validate_python(value)
    except ValidationError as error:
        raise invalid_input(error, within=field) from error


def _given_key(key: object) -> str:
    if type(key) is str and 0 < len(key) <= KEY_LENGTH_MAX and key.isprintable():
        return key
    try:
        return _KEY.validate_python(key)
    except ValidationError as error:
        raise invalid_input(error, within="idempotency_key") from error


def _supplied(job_id: object, now: datetime) -> UUID:
    try:
        return check_supplied_id(_JOB_ID.validate_python(job_id), now)
    except ValidationError as error:
        raise invalid_input(error, within="job_id") from error


def _require_given(plan: _Plan, key: str | None, lock_key: str | None) -> None:
    """A key that only the type's code computes has to be given by a client without that code."""
    for field, missing in (("idempotency_key", plan.needs_key and key is None),
                           ("lock_key", plan.needs_lock_key and lock_key is None)):  # fmt: skip
        if missing:
            raise InvalidInput(
                f"{plan.known.definition.name} computes its {field} in code that this program does not have",
                field=field, rule="must be given",
            )  # fmt: skip


def _with_keys(
    facts: JobDispatched, key: str | None, lock_key: str | None, limit_key: str | None
) -> JobDispatched:  # fmt: skip
    """The same facts with their keys: a copy without pydantic's, which costs four times as much."""
    copy = JobDispatched.__new__(JobDispatched)
    keys = {"idempotency_key": key, "lock_key": lock_key, "limit_key": limit_key}
    object.__setattr__(copy, "__dict__", {**facts.__dict__, **keys})
    object.__setattr__(copy, "__pydantic_fields_set__", facts.__pydantic_fields_set__)
    object.__setattr__(copy, "__pydantic_extra__", None)
    object.__setattr__(copy, "__pydantic_private__", None)
    return copy
