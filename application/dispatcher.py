"""The one dispatcher: every command and query goes through it, and telemetry is bound here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import structlog
from pydantic import ValidationError

from jobledger.domain.errors import InvalidInput, Refusal

from .flow import Flow
from .in_loop import awaited
from .logs import logger
from .message import Actor, Message
from .pending import Pending
from .ports import Clock, Identifiers
from .result import Accepted, Refused, Result
from .telemetry import Telemetry, mark_refused
from .validation import invalid_input

R = TypeVar("R")
M = TypeVar("M", bound=Message[Any])

Handler = Callable[[M, Flow], Accepted[R]]
"""Carries a message out; raises a `Refusal` where the answer is no."""


class Begin(NamedTuple):
    """How a command is begun without waiting; `may_wait` says where that cannot be had just now."""

    may_wait: Callable[[Any], bool]
    begin: Callable[[Any, Flow], Pending[Any]]


RecordRefusal = Callable[[Mapping[str, object], InvalidInput, Flow], None]
"""Records a command that was not even well-formed, from the fields that were given."""


class _Registered(NamedTuple):
    name: str
    handle: Handler[Any, Any]
    record_refusal: RecordRefusal | None
    begin: Begin | None


class Dispatcher:
    """Finds the handler of a message, binds its telemetry, and answers accepted or refused.

    Errors that are no answer (`LedgerUnavailable` ...) are raised; then nothing of the command was written.
    """

    def __init__(self, clock: Clock, identifiers: Identifiers, telemetry: Telemetry | None = None) -> None:
        self._clock = clock
        self._identifiers = identifiers
        self._telemetry = telemetry or Telemetry()
        self._handlers: dict[type[Message[Any]], _Registered] = {}

    @property
    def telemetry(self) -> Telemetry:
        """Where spans begin and end; the worker uses it for attempts."""
        return self._telemetry

    @property
    def messages(self) -> tuple[type[Message[Any]], ...]:
        """All commands and queries that have a handler."""
        return tuple(self._handlers)

    def register(
        self, message_type: type[M], handler: Handler[M, Any], *, record_refusal: RecordRefusal | None = None,
        begin: Begin | None = None,
    ) -> None:  # fmt: skip
        """Let `handler` answer messages of this type. A type has one handler."""
        if message_type in self._handlers:
            raise InvalidInput(f"{message_type.__name__} has a handler already", field="message", rule="one handler")
        self._handlers[message_type] = _Registered(_snake(message_type.__name__), handler, record_refusal, begin)

    def execute(self, message: Message[R]) -> Result[R]:
        """Carry a message out."""
        registered = self._registered(type(message))
        with self._bound(registered.name, message) as flow:
            try:
                return registered.handle(message, flow)
            except Refusal as error:
                return _refused(error)

    @contextmanager
    def _bound(self, name: str, message: Message[Any]) -> Iterator[Flow]:
        """The flow of a message, its span and what its log lines say."""
        tenant = _tenant_of(message)
        with self._telemetry.command(name, message.trace_parent, {"jobledger.tenant": tenant}) as trace_parent:
            flow = self._flow(
                message.actor, message.correlation_id, trace_parent, getattr(message, "causation_id", None)
            )
            said = structlog.contextvars.bind_contextvars(  # and not `bound_...`, which looks at all that is bound
                tenant=tenant, command=name, correlation_id=flow.correlation_id, actor=flow.actor
            )
            try:
                yield flow
            finally:
                structlog.contextvars.reset_contextvars(**said)

    def may_wait(self, message: Message[Any]) -> bool:
        """Whether `execute_async` would keep its event loop waiting; then `execute` belongs on a thread."""
        begin = self._registered(type(message)).begin
        return begin is None or begin.may_wait(message)

    async def execute_async(self, message: Message[R]) -> Result[R]:
        """Carry a message out that `may_wait` is false for."""
        registered = self._registered(type(message))
        assert registered.begin is not None, "`may_wait` says so"
        with self._bound(registered.name, message) as flow:
            try:
                step: Accepted[R] | Pending[R] = registered.begin.begin(message, flow)
                while isinstance(step, Pending):
                    step = step.settle(await awaited(step.written))
            except Refusal as error:
                return _refused(error)
            return step

    def send(self, message_type: type[Message[R]], /, *, actor: Actor, **fields: object) -> Result[R]:
        """Make a message of these fields and carry it out; a field that breaks a rule is a refusal that names it."""
        try:
            message = message_type.model_validate({"actor": actor, **fields})
        except ValidationError as invalid:
            error = invalid_input(invalid)
            registered = self._registered(message_type)
            if registered.record_refusal is not None:
                registered.record_refusal(fields, error, self._flow(actor, None, None, None))
            return _refused(error)
        return self.execute(message)

    def _registered(self, message_type: type[Message[Any]]) -> _Registered:
        registered = self._handlers.get(message_type)
        if registered is None:
            raise InvalidInput(f"nobody handles {message_type.__name__}", field="message", rule="has a handler")
        return registered

    def _flow(
        self, actor: Actor, correlation_id: str | None, trace_parent: str | None, causation_id: str | None
    ) -> Flow:
        return Flow(
            actor, correlation_id or self._identifiers.correlation_id(),
            trace_parent or self._identifiers.trace_parent(), causation_id, self._clock.now(),
        )  # fmt: skip


def _refused(error: Refusal) -> Refused:
    mark_refused(error.code)
    logger().info("command.refused", code=error.code, field=error.field, rule=error.rule, message=error.message)
    return Refused(error)


def _tenant_of(message: Message[Any]) -> str:
    """The tenant that a message is about, as it claims."""
    about = getattr(message, "item", message)
    return str(getattr(about, "tenant", None) or getattr(message, "name", ""))


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
