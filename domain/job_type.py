"""What a job type is: a name with schemas, kind, options and the way its effects are protected.

A worker publishes its types when it starts (`job_type.registered`), so that a client without the code can validate
against the installation's registry. A type that declares no idempotency is refused (rule 4, R4.5).
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from .errors import InvalidInput
from .event import Facts
from .job import JobKind
from .options import SOFT_TIMEOUT_SHARE, JobOptions
from .rate_card import RateCard

JobTypeName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$", max_length=120)]
Effects = Literal["steps", "transaction", "none"]
Isolation = Literal["async", "thread", "process"]

PAYLOAD_BYTES_DEFAULT, PAYLOAD_BYTES_MAX = 256_000, 4_000_000


class JobTypeDefinition(BaseModel):
    """A job type as the installation knows it. `payload_schema` and `result_schema` are JSON Schemas.

    `idempotency_key_fields` names the payload fields that make the key; `effects` says how effects are protected
    where the key alone is not enough. At least one of them must be declared. Where the program computes a key with
    code of its own (`..._computed`), a client without that code has to give the key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: JobTypeName
    kind: JobKind = "work"
    options: JobOptions = JobOptions()
    isolation: Isolation = "thread"
    idempotency_key_fields: tuple[str, ...] = ()
    idempotency_key_computed: bool = False
    lock_key_computed: bool = False
    effects: Effects | None = None
    payload_schema: dict[str, JsonValue]
    result_schema: dict[str, JsonValue]
    rate_card: RateCard = RateCard()
    payload_limit_bytes: Annotated[int, Field(ge=1, le=PAYLOAD_BYTES_MAX)] = PAYLOAD_BYTES_DEFAULT
    result_limit_bytes: Annotated[int, Field(ge=1, le=PAYLOAD_BYTES_MAX)] = PAYLOAD_BYTES_DEFAULT
    providers: tuple[str, ...] = ()
    description: str = ""

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with any change of the definition."""
        return _fingerprint(self.model_dump(mode="json"))

    @property
    def payload_fingerprint(self) -> str:
        """Sixteen hexadecimal digits of the payload schema; recorded with each dispatch."""
        return _fingerprint(self.payload_schema)


class JobTypeRegistered(Facts):
    """A worker published a job type, new or changed.

    Version 1 had one timeout; version 2 records the soft timeout beside it, version 3 has the option `limit_key`
    (see `UPCASTERS`).
    """

    topic: ClassVar[str] = "job_type.registered"
    schema_version: ClassVar[int] = 3

    definition: JobTypeDefinition
    fingerprint: str
    code_version: str
    app: str


class JobTypeState(NamedTuple):
    """The definition in force and how often it changed."""

    definition: JobTypeDefinition
    fingerprint: str
    changes: int


def evolve(state: JobTypeState | None, facts: Facts) -> JobTypeState:
    """The state after an event of the type's stream."""
    if not isinstance(facts, JobTypeRegistered):
        raise InvalidInput(f"{facts.topic} is not an event of a job type", field="topic")
    return JobTypeState(facts.definition, facts.fingerprint, (state.changes if state else 0) + 1)


def register(
    state: JobTypeState | None, definition: JobTypeDefinition, *, code_version: str, app: str
) -> tuple[JobTypeRegistered, ...]:
    """Publish a definition; nothing happens where it is in force already."""
    require_idempotency(definition)
    if state is not None and state.fingerprint == definition.fingerprint:
        return ()
    return (
        JobTypeRegistered(
            definition=definition, fingerprint=definition.fingerprint, code_version=code_version, app=app
        ),
    )


def require_idempotency(definition: JobTypeDefinition) -> None:
    """Refuse a type that says neither what its key is nor how its effects are protected (R4.5)."""
    computes_key = definition.idempotency_key_fields or definition.idempotency_key_computed
    if not computes_key and definition.effects is None:
        raise InvalidInput(
            f"job type {definition.name!r} does not say how it may run twice safely", field="idempotency",
            rule='declare idempotency_key=... and/or effects="steps" | "transaction" | "none"',
        )  # fmt: skip


def add_soft_timeout(stored: dict[str, Any]) -> dict[str, Any]:
    """Version 1 to 2: the soft timeout was always 90 % of the hard one, then it became an option of its own."""
    options = dict(stored["definition"].get("options") or {})
    timeout_seconds = options.get("timeout_seconds")
    if timeout_seconds is not None and options.get("soft_timeout_seconds") is None:
        options["soft_timeout_seconds"] = max(1.0, timeout_seconds * SOFT_TIMEOUT_SHARE)
    return {**stored, "definition": {**stored["definition"], "options": options}}


def add_limit_key(stored: dict[str, Any]) -> dict[str, Any]:
    """Version 2 to 3: no type named a key for its jobs to be limited by."""
    options = {"limit_key": None, **(stored["definition"].get("options") or {})}
    return {**stored, "definition": {**stored["definition"], "options": options}}


def _fingerprint(document: dict[str, Any]) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
