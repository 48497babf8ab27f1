"""Asking with the words of the command line: what is wrong with a field is told about the option that carries it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from jobledger.application.message import Message
from jobledger.application.result import Refused, Result
from jobledger.domain.errors import Refusal

from .session import Session

R = TypeVar("R")

_TYPED = {
    "tenant": "--tenant", "job": "ID", "reason": "--reason", "ticket": "--ticket", "limit": "--limit",
    "cursor": "--after", "after": "--after", "after_version": "--after",
    "recorded_from": "--from", "recorded_to": "--to", "since": "--from", "until": "--to", "types": "--type",
    "by": "--actor", "format": "--format", "bodies": "--bodies", "created_from": "--since", "created_to": "--until",
    "status": "--status", "failed": "--failed", "job_type": "--type", "kind": "--kind", "queue": "--queue",
    "persona": "--persona", "as_of": "--as-of", "from_version": "FROM", "to_version": "TO",
    "request": "CORRELATION_ID", "priority": "--priority", "due_at": "--run-at",
}  # fmt: skip
"""Fields of questions about jobs, statistics and the ledger, as the commands that ask them call them."""

_RULES = {
    "tenant": "lower-case letters, digits, - and _; 63 at most", "types": "a topic (job.failed), or a family (job.*)",
    "by": "1 to 200 characters, without NUL", "persona": "1 to 127 characters",
    "request": "1 to 200 characters, without NUL", "after_version": "a version of the job",
    "from_version": "a version of the job", "to_version": "a version of the job",
}  # fmt: skip
"""What the bare rules of these fields mean."""
_BARE = ("matches ", "at least ", "at most ", "is a whole number", "is a smaller number")

_CURSOR_HINT = "take it from the last page: its line `next page`, or `next` in its JSON"


def ask(session: Session, query: type[Message[R]], /, **fields: object) -> R:
    """The answer; a refusal is raised."""
    return ask_calling(session, query, {}, **fields)


def ask_calling(session: Session, query: type[Message[R]], typed: Mapping[str, str], /, **fields: object) -> R:
    """The same of a command that has names of its own for fields."""
    return send_calling(session, query, typed, **fields).unwrap()


def send(session: Session, query: type[Message[R]], /, **fields: object) -> Result[R]:
    """The answer or the refusal."""
    return send_calling(session, query, {}, **fields)


def send_calling(session: Session, query: type[Message[R]], typed: Mapping[str, str], /, **fields: object) -> Result[R]:
    """The same of a command that has names of its own for fields."""
    result = session.send(query, **fields)
    if isinstance(result, Refused):
        _name(result.error, {**_TYPED, **typed}, fields)
    return result


def _name(error: Refusal, typed: Mapping[str, str], fields: Mapping[str, object]) -> None:
    field, _, place = (error.field or "").partition(".")
    if field not in typed:
        return
    error.field = typed[field]
    if error.rule is not None and error.rule.startswith(_BARE) and field in _RULES:
        error.args = (f"{_value(fields.get(field), place)!r} cannot be one",)
        error.message, error.rule = error.args[0], _RULES[field]
    if error.field == "--after" and error.hint is None:
        error.hint = _CURSOR_HINT


def _value(value: object, place: str) -> str:
    """What was typed: of several the one that is meant."""
    if isinstance(value, Sequence) and not isinstance(value, str) and place.isdigit():
        value = value[int(place)]
    return str(value)[:60]
