"""The conformance report of R4.14: nine lines a job type, each looked up in its declaration and in its code.

A job type that breaks one may not go to production: `jobledger work` refuses it there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from jobledger.domain.errors import NonConformingType
from jobledger.domain.job_type import JobTypeDefinition

from .app import App
from .declared_job import DeclaredJob
from .handler_source import HandlerSource, read_source
from .secret_shapes import is_secret_name, looks_secret

EXTERNAL = frozenset({
    "requests", "httpx", "urllib", "urllib3", "http", "aiohttp", "socket", "smtplib", "imaplib", "poplib", "ftplib",
    "telnetlib", "paramiko", "boto3", "botocore", "grpc", "websockets", "openai", "anthropic", "stripe", "twilio",
})  # fmt: skip
"""Packages whose direct use in a handler is a call to the outside without an adapter."""
_UNSEEN_WORK = frozenset({"subprocess", "multiprocessing", "threading"})
_ENDED_WITH_PROCESS = frozenset({"subprocess", "multiprocessing"})
"""What a handler in a child process may start: it is ended with the child."""
_TENANT_FIELDS = frozenset({"tenant", "tenant_id", "tenantid", "tenant_name"})


class Check(StrEnum):
    """The nine lines."""

    IDEMPOTENT = "idempotent"
    TENANT = "tenant"
    RETRY = "retry"
    DLQ = "dlq"
    STRUCTURED_LOGS = "structured_logs"
    METRICS = "metrics"
    SECURITY = "security"
    PROVIDERS = "providers"
    OBSERVABILITY = "observability"


class Line(NamedTuple):
    """One line: what was found. `violations` is empty where the type conforms."""

    check: Check
    finding: str
    violations: tuple[str, ...]

    @property
    def conforms(self) -> bool:
        """Whether nothing was found against it."""
        return not self.violations


class TypeReport(NamedTuple):
    """The nine lines of a job type."""

    job_type: str
    lines: tuple[Line, ...]

    @property
    def conforms(self) -> bool:
        """Whether every line does."""
        return all(line.conforms for line in self.lines)


def check_app(app: App) -> tuple[TypeReport, ...]:
    """The report of every job type that an app declares."""
    return tuple(check_job(job) for job in app.jobs.values())


def check_job(job: DeclaredJob) -> TypeReport:
    """The report of one job type."""
    source = read_source(job.handler)
    lines = (_line(check, rule, job.definition, source) for check, rule in _RULES.items())
    return TypeReport(job.definition.name, tuple(lines))


def require_conformance(app: App) -> None:
    """Raise `NonConformingType` that names the first violating type and what it violates."""
    for report in check_app(app):
        found = [f"{line.check.value}: {violation}" for line in report.lines for violation in line.violations]
        if found:
            raise NonConformingType(
                f"job type {report.job_type!r} may not go to production: {'; '.join(found)}", field="job_type",
                rule="conforms", hint="jobledger check --app ... shows all; JOBLEDGER_ENV=development allows it",
            )  # fmt: skip


def _line(check: Check, rule: _Rule, definition: JobTypeDefinition, source: HandlerSource) -> Line:
    found = list(rule(definition, source))
    finding = found[0]
    if not source.is_known:
        finding += " (the handler's source is not available)"
    return Line(check, finding, tuple(found[1:]))


_Rule = Callable[[JobTypeDefinition, HandlerSource], Iterator[str]]
"""Yields what it found, then the violations."""


def _idempotent(definition: JobTypeDefinition, source: HandlerSource) -> Iterator[str]:
    key = ", ".join(definition.idempotency_key_fields) or (
        "computed" if definition.idempotency_key_computed else "given"
    )
    yield f"key: {key}; effects: {definition.effects or 'once a key'}"
    computes_key = bool(definition.idempotency_key_fields) or definition.idempotency_key_computed
    if not computes_key and definition.effects is None:
        yield "declares neither a key nor how its effects are protected"
    if definition.effects == "steps" and source.is_known and not source.methods_called() & {"step", "step_async"}:
        yield 'says effects="steps", but its handler records no step'
    if definition.effects == "transaction" and source.is_known and "transaction" not in source.methods_called():
        yield 'says effects="transaction", but its handler opens no transaction'


def _tenant(definition: JobTypeDefinition, source: HandlerSource) -> Iterator[str]:
    yield "the tenant comes from the job"
    for field in _properties(definition):
        if field.lower() in _TENANT_FIELDS:
            yield f"payload field {field!r} names a tenant a second time"
    if source.changes_globals():
        yield "the handler changes a global variable: state shared between tenants"


def _retry(definition: JobTypeDefinition, source: HandlerSource) -> Iterator[str]:
    retry = definition.options.retry
    yield f"{retry.kind}, at most {retry.max_attempts} attempts" if retry else "the installation's default, bounded"
    if source.retries_itself():
        yield "the handler loops without end around a try: retry without control"
    if source.modules_used() & {"tenacity", "backoff", "retrying"}:
        yield "the handler retries by itself with a library: retry without control"


def _dlq(definition: JobTypeDefinition, source: HandlerSource) -> Iterator[str]:
    yield "attempts exhausted, unrecoverable and integrity errors end in the DLQ"
    if source.swallows_errors():
        yield "the handler swallows every exception: a failure would count as done and never reach the DLQ"


def _structured_logs(definition: JobTypeDefinition, source: HandlerSource) -> Iterator[str]:
    yield "one structured event a transition"
    if "print" in source.calls():
        yield "the handler prints: use context.log"
    if source.interpolates_logs():
        yield "the handler logs an interpolated sentence: log an event and fields"


def _metrics(definition: JobTypeDefinition, source: HandlerSource) -> Iterator[str]:
    rates = definition.rate_card
    yield f"latency, outcome and queue time of every attempt; rate card {rates.version}"
    reports_usage = "usage" in source.methods_called()
    if rates.per_unit and source.is_known and not reports_usage:
        yield f"prices {', '.join(sorted(rates.per_unit))}, but its handler reports no usage"
    if reports_usage and not rates.per_unit:
        yield "reports usage, but its rate card has no price for a unit"


def _security(definition: JobTypeDefinition, source: HandlerSource) -> Iterator[str]:
    yield "technical identity, payloads validated and without secrets"
    for field in _all_properties(definition.payload_schema):
        if is_secret_name(field):
            yield f"payload field {field!r} would hold a secret: pass a reference to the vault"
    if source.reads_environment():
        yield "the handler reads the environment: secrets and settings come from outside of it"
    if any(looks_secret(text) for text in source.texts()):
        yield "the handler's source holds what looks like a secret"


def _providers(definition: JobTypeDefinition, source: HandlerSource) -> Iterator[str]:
    yield f"through adapters: {', '.join(definition.providers)}" if definition.providers else "calls no provider"
    for package in sorted(source.modules_used() & EXTERNAL):
        yield f"the handler uses {package} directly: external calls go through a provider adapter"


def _observability(definition: JobTypeDefinition, source: HandlerSource) -> Iterator[str]:
    timeout_seconds = definition.options.timeout_seconds
    of_its_own = f"{timeout_seconds:g} s timeout" if timeout_seconds else "the queue's or the installation's timeout"
    yield f"traced, correlated, {of_its_own}"
    unseen = _UNSEEN_WORK - _ENDED_WITH_PROCESS if definition.isolation == "process" else _UNSEEN_WORK
    for package in sorted(source.modules_used() & unseen):
        yield f"the handler uses {package}: work that nobody sees or stops"
    if definition.isolation == "async" and "time.sleep" in source.calls():
        yield "the coroutine blocks its event loop with time.sleep"


_RULES: Mapping[Check, _Rule] = {
    Check.IDEMPOTENT: _idempotent, Check.TENANT: _tenant, Check.RETRY: _retry, Check.DLQ: _dlq,
    Check.STRUCTURED_LOGS: _structured_logs, Check.METRICS: _metrics, Check.SECURITY: _security,
    Check.PROVIDERS: _providers, Check.OBSERVABILITY: _observability,
}  # fmt: skip


def _properties(definition: JobTypeDefinition) -> tuple[str, ...]:
    properties = definition.payload_schema.get("properties")
    return tuple(properties) if isinstance(properties, dict) else ()


def _all_properties(schema: object) -> Iterator[str]:
    """The names of all fields, nested ones included."""
    if isinstance(schema, list):
        for part in schema:
            yield from _all_properties(part)
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            yield from (name for name, of in properties.items() if not _refers_to_secret(of))
        for part in schema.values():
            yield from _all_properties(part)


def _refers_to_secret(schema: object) -> bool:
    """Whether a field is a `SecretRef`, as pydantic writes its schema."""
    return isinstance(schema, dict) and any(
        str(part.get("$ref", "")).endswith("/SecretRef")
        for part in (schema, *_parts(schema.get("anyOf")), *_parts(schema.get("allOf")))
    )


def _parts(schemas: object) -> list[dict[str, object]]:
    return [part for part in schemas if isinstance(part, dict)] if isinstance(schemas, list) else []
