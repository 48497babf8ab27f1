"""What a program declares: its job types and its reactions to domain events.

app = App("condominium")

@app.job("invoice.send", queue="billing", idempotency_key="invoice_id", timeout_seconds=60)
def send_invoice(context: JobContext, payload: SendInvoice) -> Sent: ...
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, get_type_hints

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import WithDefaultSchema

from jobledger.domain.errors import InvalidInput, UnknownJobType
from jobledger.domain.job import JobKind
from jobledger.domain.job_type import PAYLOAD_BYTES_DEFAULT, Effects, Isolation, JobTypeDefinition, require_idempotency
from jobledger.domain.rate_card import RateCard
from jobledger.domain.retry import Retry

from .declared_job import (
    DeclaredJob,
    Handler,
    KeyOf,
    fields_in,
    has_free_form_objects,
    is_coroutine_handler,
    may_hold_floats,
)
from .dispatch_item import Dispatch
from .error_policy import error_policy
from .validation import invalid_input

HandlerT = TypeVar("HandlerT", bound=Handler)
ReactionT = TypeVar("ReactionT", bound="Reaction")

_CODE_VERSION_LENGTH = 12


class ReactsTo(Protocol):
    """What a reaction needs of an event to be found: its type."""

    @property
    def type(self) -> str:
        """For example `com.condominium.invoice.paid`."""
        ...


Reaction = Callable[[Any], Dispatch | Sequence[Dispatch] | None]
"""A pure function: an event in, the dispatches that follow out."""


class App:
    """The job types and reactions of one program. `code_version` defaults to a hash of its handlers' source files."""

    def __init__(self, name: str, *, code_version: str | None = None) -> None:
        self.name = name
        self._code_version = code_version
        self._jobs: dict[str, DeclaredJob] = {}
        self._reactions: dict[str, list[Reaction]] = {}

    @property
    def jobs(self) -> Mapping[str, DeclaredJob]:
        """All declared job types by name."""
        return MappingProxyType(self._jobs)

    @property
    def definitions(self) -> tuple[JobTypeDefinition, ...]:
        """What the installation's registry is told about this program's job types."""
        return tuple(job.definition for job in self._jobs.values())

    @property
    def code_version(self) -> str:
        """Recorded with every attempt: says which code ran."""
        if self._code_version is None:
            self._code_version = _hash_of_sources(self._jobs.values())
        return self._code_version

    def declared(self, job_type: str) -> DeclaredJob:
        """The declaration of a job type. Raises `UnknownJobType`."""
        declared = self._jobs.get(job_type)
        if declared is None:
            raise UnknownJobType(job_type, tuple(sorted(self._jobs)))
        return declared

    def job(
        self,
        name: str,
        *,
        kind: JobKind = "work",
        queue: str | None = None,
        priority: int | None = None,
        retry: Retry | None = None,
        timeout_seconds: float | None = None,
        soft_timeout_seconds: float | None = None,
        max_stalled: int | None = None,
        isolation: Isolation | None = None,
        idempotency_key: str | Sequence[str] | KeyOf | None = None,
        effects: Effects | None = None,
        lock_key: str | KeyOf | None = None,
        limit_key: str | None = None,
        rate_card: RateCard | None = None,
        payload_limit_bytes: int = PAYLOAD_BYTES_DEFAULT,
        result_limit_bytes: int = PAYLOAD_BYTES_DEFAULT,
        providers: Sequence[str] = (),
        memory_limit_mb: int | None = None,
        never_retry: Sequence[type[BaseException]] = (),
        retry_after: Mapping[type[BaseException], float] | None = None,
    ) -> Callable[[HandlerT], HandlerT]:
        """Declare a job type; the decorated handler `(context, payload) -> result` is returned unchanged.

        The second parameter's annotation is the payload's type (its JSON is an object), the return annotation the
        result's. `idempotency_key` is one payload field, several, or a function of the payload; `lock_key` a text, in
        which `{field}` stands for a field of the payload, or a function of the payload; `limit_key` such a text, too:
        what concurrency and rate can be limited by beside queue, tenant and persona. Options left None come from
        the queue, then from the installation. `memory_limit_mb` is for isolation "process": what the child process
        may hold while it runs the job, the program itself included.

        Errors of the classes in `never_retry` send the job to the DLQ at once; after one of a class in `retry_after`
        the next attempt waits so many seconds. The nearest of an error's classes decides. Raises `InvalidInput` where
        the declaration breaks a rule.
        """
        options: dict[str, object] = {
            "queue": queue, "priority": priority, "retry": retry, "timeout_seconds": timeout_seconds,
            "soft_timeout_seconds": soft_timeout_seconds, "max_stalled": max_stalled,
            "lock_key": None if callable(lock_key) else lock_key, "limit_key": limit_key,
        }  # fmt: skip
        declared: dict[str, object] = {
            "name": name, "kind": kind, "options": options, "effects": effects, "rate_card": rate_card or RateCard(),
            "idempotency_key_fields": _key_fields(idempotency_key),
            "idempotency_key_computed": callable(idempotency_key), "lock_key_computed": callable(lock_key),
            "payload_limit_bytes": payload_limit_bytes, "result_limit_bytes": result_limit_bytes,
            "providers": tuple(providers),
        }  # fmt: skip
        key_of = idempotency_key if callable(idempotency_key) else None
        lock_key_of = lock_key if callable(lock_key) else None
        errors = error_policy(never_retry, retry_after)
        namespace = sys._getframe(1).f_locals  # annotations may name classes of the calling function

        def register(handler: HandlerT) -> HandlerT:
            declared["isolation"] = _isolation(name, isolation, handler)
            _check_memory_limit(name, declared["isolation"], memory_limit_mb)
            self._add(
                replace(
                    _declare(declared, handler, namespace, key_of, lock_key_of), errors=errors,
                    in_process=declared["isolation"] == "process", memory_limit_mb=memory_limit_mb,
                )
            )  # fmt: skip
            return handler

        return register

    def reaction(self, event_type: str) -> Callable[[ReactionT], ReactionT]:
        """Declare what follows from an event of a type: a pure function from the event to dispatches."""

        def register(reaction: ReactionT) -> ReactionT:
            self._reactions.setdefault(event_type, []).append(reaction)
            return reaction

        return register

    @property
    def reacts_to(self) -> frozenset[str]:
        """The event types that lead to a dispatch."""
        return frozenset(self._reactions)

    def reactions_to(self, event: ReactsTo) -> list[Dispatch]:
        """The dispatches that follow from an event; empty where nothing reacts to its type."""
        dispatches: list[Dispatch] = []
        for reaction in self._reactions.get(event.type, ()):
            answer = reaction(event)
            if isinstance(answer, Dispatch):
                dispatches.append(answer)
            elif answer is not None:
                dispatches.extend(answer)
        return dispatches

    def _add(self, job: DeclaredJob) -> None:
        if job.definition.name in self._jobs:
            raise InvalidInput(
                f"job type {job.definition.name!r} is declared twice", field="name", rule="is unique in an app"
            )
        self._jobs[job.definition.name] = job


class _SchemaWithDefaults(GenerateJsonSchema):
    """Empty collections made by a factory are defaults too: a client without the code fills them in as we do."""

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        """The schema with its default."""
        factory = schema.get("default_factory")
        if factory in (list, tuple, set, frozenset, dict):
            schema = {**schema, "default": factory()}
        return super().default_schema(schema)


def _declare(
    declared: dict[str, object],
    handler: Handler,
    namespace: Mapping[str, object],
    key_of: KeyOf | None,
    lock_key_of: KeyOf | None,
) -> DeclaredJob:
    payload, result = _types_of(handler, namespace)
    payload_schema = _schema(payload, handler, "payload")
    try:
        definition = JobTypeDefinition.model_validate({
            **declared, "payload_schema": payload_schema, "result_schema": _schema(result, handler, "result"),
            "description": inspect.getdoc(handler) or "",
        })  # fmt: skip
    except ValidationError as error:
        raise invalid_input(error, drop=("options",)) from error
    require_idempotency(definition)
    _require_fields(definition)
    result_schema = definition.result_schema
    return DeclaredJob(
        definition, handler, is_coroutine_handler(handler), payload, result, key_of, lock_key_of,
        sorts=has_free_form_objects(payload_schema) or may_hold_floats(payload_schema),
        checks_result=has_free_form_objects(result_schema) or may_hold_floats(result_schema),
        payload_fingerprint=definition.payload_fingerprint,
    )  # fmt: skip


def _types_of(handler: Handler, namespace: Mapping[str, object]) -> tuple[TypeAdapter[Any], TypeAdapter[Any]]:
    parameters = list(inspect.signature(handler).parameters)
    if len(parameters) != 2:
        raise InvalidInput(
            f"{_name(handler)} takes {len(parameters)} parameters", field="handler", rule="(context, payload)"
        )
    try:
        hints = get_type_hints(handler, localns=dict(namespace), include_extras=True)
    except NameError as error:
        raise InvalidInput(
            f"an annotation of {_name(handler)} cannot be resolved: {error}", field="handler",
            rule="annotations resolve", hint="import the payload's class at run time, not under TYPE_CHECKING",
        ) from error  # fmt: skip
    if parameters[1] not in hints:
        raise InvalidInput(
            f"{_name(handler)} does not annotate {parameters[1]!r}", field="payload", rule="has a type",
            hint="annotate it with a pydantic model",
        )  # fmt: skip
    if "return" not in hints:
        raise InvalidInput(f"{_name(handler)} does not annotate what it returns", field="result", rule="has a type")
    return _adapter(hints[parameters[1]], handler, "payload"), _adapter(hints["return"], handler, "result")


def _adapter(annotation: type[object], handler: Handler, what: str) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation)
    except PydanticUserError as error:
        raise InvalidInput(
            f"the {what} of {_name(handler)} is not a type pydantic reads: {error.message}",
            field=what,
            rule="has a schema",
        ) from error


def _schema(adapter: TypeAdapter[Any], handler: Handler, what: str) -> dict[str, Any]:
    try:
        schema = adapter.json_schema(schema_generator=_SchemaWithDefaults)
    except PydanticInvalidForJsonSchema as error:
        raise InvalidInput(
            f"the {what} of {_name(handler)} has no JSON Schema", field=what, rule="has a schema"
        ) from error
    if what == "payload" and schema.get("type") != "object" and "oneOf" not in schema and "anyOf" not in schema:
        raise InvalidInput(f"the payload of {_name(handler)} is not an object", field=what, rule="is a JSON object")
    return schema


def _isolation(name: str, isolation: Isolation | None, handler: Handler) -> Isolation:
    is_async = is_coroutine_handler(handler)
    if isolation is None:
        return "async" if is_async else "thread"
    if is_async != (isolation == "async"):
        kind = "a coroutine" if is_async else "not a coroutine"
        raise InvalidInput(
            f"job type {name!r} has isolation {isolation!r}, but its handler is {kind}", field="isolation",
            rule='"async" is for coroutines, "thread" and "process" are for functions',
        )  # fmt: skip
    return isolation


def _check_memory_limit(name: str, isolation: object, memory_limit_mb: int | None) -> None:
    if memory_limit_mb is None:
        return
    if isolation != "process" or memory_limit_mb < 1:
        raise InvalidInput(
            f"job type {name!r} asks for a memory limit of {memory_limit_mb} MB with isolation {isolation!r}",
            field="memory_limit_mb", rule='1 or more, with isolation="process"',
        )  # fmt: skip


def _key_fields(idempotency_key: str | Sequence[str] | KeyOf | None) -> tuple[str, ...]:
    if idempotency_key is None or callable(idempotency_key):
        return ()
    return (idempotency_key,) if isinstance(idempotency_key, str) else tuple(idempotency_key)


def _require_fields(definition: JobTypeDefinition) -> None:
    properties = definition.payload_schema.get("properties")
    if not isinstance(properties, dict):
        return
    options = definition.options
    templates = (*fields_in(options.lock_key or ""), *fields_in(options.limit_key or ""))
    named = (*definition.idempotency_key_fields, *templates)
    missing = [field for field in named if field not in properties]
    if missing:
        raise InvalidInput(
            f"job type {definition.name!r} makes a key of {', '.join(missing)}, which its payload does not have",
            field="idempotency_key", rule="names fields of the payload",
        )  # fmt: skip


def _name(handler: Handler) -> str:
    return getattr(handler, "__qualname__", repr(handler))


def _hash_of_sources(jobs: Iterable[DeclaredJob]) -> str:
    files = sorted({path for job in jobs if (path := inspect.getsourcefile(inspect.unwrap(job.handler)))})
    digest = hashlib.sha256()
    for path in files:
        digest.update(Path(path).read_bytes() if Path(path).is_file() else path.encode())
    return digest.hexdigest()[:_CODE_VERSION_LENGTH]
