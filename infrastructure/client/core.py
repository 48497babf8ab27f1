"""What all requests of a client have in common, and how they are asked again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote
from uuid import UUID

from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

from .connecting import user_agent
from .errors import ApiProblem, ClientError, Unreachable, Unreadable, error_of, problem_in
from .exchange import Answer, Exchange, Flow, Open, Pause, Request, Trouble
from .tracing import current_trace_parent

M = TypeVar("M", bound=BaseModel)

JobRef = UUID | str
"""A job's id."""

RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 0.1, 5.0
"""What a first and what any pause before asking again is at most; jitter takes up to half of it away."""
TRY_AGAIN = (429, 503)
"""Statuses that may be others in a moment."""


@dataclass(frozen=True, slots=True)
class Core:
    """Who asks, for whom, how patiently."""

    credential: Callable[[], str | None]
    timeout_seconds: float
    deadline_seconds: float
    monotonic: Callable[[], float]
    draw: Callable[[], float]
    """From [0, 1): jitter."""
    tenant: str | None = None
    on_behalf_of: str | None = None
    wait_seconds: float = 20.0
    """How long the server is asked to wait for a result before it is asked again."""

    def of(self, tenant: str) -> Core:
        """The same for one tenant."""
        return replace(self, tenant=tenant)

    def acting_for(self, name: str) -> Core:
        """The same, said to be on behalf of somebody."""
        if not (name.isascii() and name.isprintable() and 0 < len(name) <= 200):
            raise ValueError("on_behalf_of is 1 to 200 printable ASCII characters")
        return replace(self, on_behalf_of=name)

    def place(self, tenant: str | None, *parts: object) -> str:
        """A path below a tenant."""
        return path("tenants", self.tenant_of(tenant), *parts)

    def tenant_of(self, tenant: str | None) -> str:
        """The tenant that a call names, else the client's."""
        chosen = tenant or self.tenant
        if chosen is None:
            raise ValueError("which tenant? pass tenant=..., or use client.of(tenant)")
        return chosen

    def request(
        self,
        method: str,
        where: str,
        *,
        parameters: Mapping[str, object] | None = None,
        body: BaseModel | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        accept: str = "application/json",
        extra_seconds: float = 0.0,
    ) -> Request:
        """A request; parameters that are None are left out, and so are a body's members that nobody set."""
        given = {name: _texts(value) for name, value in (parameters or {}).items() if value is not None}
        content = json_of(body) if isinstance(body, BaseModel) else body
        about = {**self._headers(accept), **(headers or {})}
        if content is not None:
            about.setdefault("Content-Type", "application/json")
        return Request(method, where, given, about, content, self.timeout_seconds + extra_seconds)

    def _headers(self, accept: str) -> dict[str, str]:
        credential, trace_parent = self.credential(), current_trace_parent()
        said = {
            "Accept": accept, "User-Agent": user_agent(), "Authorization": credential and f"Bearer {credential}",
            "Jobledger-On-Behalf-Of": self.on_behalf_of, "traceparent": trace_parent,
        }  # fmt: skip
        return {name: value for name, value in said.items() if value}


def json_of(body: BaseModel) -> bytes:
    """A body as JSON, without what nobody set. Raises `ValueError` for what JSON cannot hold: NaN, half a character."""
    said = to_jsonable_python(body.model_dump(exclude_unset=True), by_alias=True, inf_nan_mode="constants")
    return json.dumps(said, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def path(*parts: object) -> str:
    """A path of the API, each part of it one segment."""
    return "/v1/" + "/".join(_segment(str(part)) for part in parts)


def _segment(part: str) -> str:
    return part.replace(".", "%2E") if part in {".", ".."} else quote(part, safe="")


def matching(if_match: int | str | None) -> dict[str, str]:
    """The header that says which version of a job is meant: a version, `*`, or an ETag as it was answered."""
    if if_match is None:
        return {}
    return {"If-Match": f'"{if_match}"' if isinstance(if_match, int) or if_match.isdigit() else if_match}


def ask(core: Core, request: Request, model: type[M], *, repeatable: bool | None = None) -> Flow[M]:
    """Send a request and read its answer. Raises `ApiProblem`, `Unreachable`, `Unreadable`."""
    return read((yield from answered(core, request, repeatable=repeatable)), model)


def answered(
    core: Core, request: Request, *, repeatable: bool | None = None, effect: type[Exchange] | type[Open] = Exchange
) -> Flow[Answer]:
    """The answer to a request. Who may not know whether it was carried out asks again only what can be `repeatable`
    (default: what only reads); what surely was not, in any case: a refused connection, too many requests. With the
    effect `Open` the answer is a stream, to be read then.
    """
    if repeatable is None:
        repeatable = request.method == "GET"
    deadline, attempt = core.monotonic() + core.deadline_seconds, 0
    while True:
        attempt += 1
        try:
            answer: Answer = yield effect(request)
        except Trouble as trouble:
            error: ClientError = Unreachable(f"{request.method} {request.path}: {trouble}")
            pause = backoff_seconds(core, attempt)
            again = not trouble.is_lasting and (repeatable or not trouble.was_sent)
        else:
            if answer.status < 400:
                return answer
            error = failure(answer)
            again = answer.status in TRY_AGAIN and (repeatable or answer.status == 429)
            pause = max(error.retry_after_seconds or 0.0, backoff_seconds(core, attempt))
        if not again or core.monotonic() + pause >= deadline:
            raise error
        yield Pause(pause)


def backoff_seconds(core: Core, attempt: int) -> float:
    """How long to wait after so many attempts: doubled each time, less up to half, so that clients spread."""
    longest = min(RETRY_SECONDS_MAX, RETRY_SECONDS_MIN * 2.0 ** min(attempt - 1, 16))
    return longest * (1.0 - core.draw() / 2)


def failure(answer: Answer) -> ApiProblem:
    """The error that an answer of status 400 or more is."""
    return error_of(problem_in(answer.status, answer.content), retry_after_seconds=retry_after_seconds(answer))


def retry_after_seconds(answer: Answer) -> float | None:
    """What the server asks for; None where it says nothing, or a date (jobledger never does)."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def read(answer: Answer, model: type[M]) -> M:
    """The answer as a model."""
    try:
        return model.model_validate_json(answer.content)
    except ValidationError as error:
        kind = answer.headers.get("content-type", "nothing")
        raise Unreadable(f"an answer of status {answer.status} ({kind}) that is no {model.__name__}") from error


def _texts(value: object) -> str | list[str]:
    return [_text(each) for each in value] if isinstance(value, list | tuple) else _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else str(value)
