"""A request as the routes of the fake see it, and what they answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from jobledger.application.commands import JobChanged
from jobledger.application.dispatcher import Dispatcher
from jobledger.application.message import Actor, Message
from jobledger.application.ports import EventReader
from jobledger.application.positions import Positions
from jobledger.application.result import Accepted, Refused
from jobledger.application.validation import invalid_input

from ...http.problem_documents import ApiError, named_place
from ...shapes import jobs as shapes
from ...shapes.positions import positioned

R = TypeVar("R")
B = TypeVar("B", bound=BaseModel)

_TIME: TypeAdapter[datetime] = TypeAdapter(datetime)
_JOB_ID: TypeAdapter[UUID] = TypeAdapter(UUID)


class Reply(NamedTuple):
    """An answer; `lines` instead of a `body` for those of JSON Lines and of event streams."""

    body: object
    status: int = 200
    headers: Mapping[str, str] = {}
    media_type: str = "application/json"

    def response(self, more: Mapping[str, str]) -> httpx.Response:
        """As httpx has it."""
        content = self.body if isinstance(self.body, bytes) else json.dumps(self.body, default=str).encode()
        return httpx.Response(
            self.status, headers={"Content-Type": self.media_type, **self.headers, **more}, content=content
        )


class Asked:
    """A request: `place` are the parameters of its path."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        reader: EventReader,
        actor: Actor,
        request: httpx.Request,
        place: Mapping[str, str],
        *,
        work: Callable[[], object],
        pass_time: Callable[[float], object],
    ) -> None:
        self._dispatcher = dispatcher
        self.reader = reader
        self.work = work
        self.pass_time = pass_time
        self._actor = actor
        self._request = request
        self.place = place

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self.place["tenant"]

    @property
    def job(self) -> UUID:
        """Which job it is about."""
        try:
            return _JOB_ID.validate_python(self.place["job_id"])
        except ValidationError as error:
            raise invalid_input(error, within="path.job_id") from error

    def ask(self, message_type: type[Message[R]], /, **fields: object) -> Accepted[R]:
        """Carry a message out; raises the refusal."""
        given = {name: value for name, value in fields.items() if value is not None}
        about = {"actor": self._actor, "trace_parent": self.header("traceparent")}
        try:
            message = message_type.model_validate({**about, **given})
        except ValidationError as error:
            raise invalid_input(error) from error
        result = self._dispatcher.execute(message)
        if isinstance(result, Refused):
            raise result.error
        return result

    def told(self, shape: shapes.Shape) -> shapes.Shape:
        """An answer, its positions as `after` takes them."""
        return positioned(shape, Positions(self.reader).text)

    def one(self, name: str) -> str | None:
        """A parameter of the query."""
        found: str | None = self._request.url.params.get(name)
        return found

    def flag(self, name: str) -> bool | None:
        """One that is true or false."""
        text = self.one(name)
        return None if text is None else text == "true"

    def number(self, name: str) -> int | None:
        """One that is a whole number."""
        text = self.one(name)
        return None if text is None else int(text)

    def time(self, name: str) -> datetime | None:
        """One that is a moment."""
        text = self.one(name)
        return None if text is None else _TIME.validate_python(text)

    def many(self, name: str) -> list[str]:
        """One that may be given several times."""
        return self._request.url.params.get_list(name)

    def header(self, name: str) -> str | None:
        """A header."""
        found: str | None = self._request.headers.get(name)
        return found

    def body(self, model: type[B]) -> B:
        """The body."""
        return read_json(self._request.content, model)

    def lines(self) -> list[bytes]:
        """The lines of the body."""
        return self._request.content.splitlines()

    def expected_version(self, *, required: bool = False) -> int | None:
        """What `If-Match` says."""
        given = self.header("If-Match")
        if given is None and required:
            raise ApiError(
                "precondition_required", "say which version of the job you saw", field="header.If-Match",
                rule="is given",
            )  # fmt: skip
        return None if given in (None, "*") else int(str(given).strip('"'))

    def told_place(self, field: str | None) -> str | None:
        """Where in the request a field of a message stood."""
        return named_place(field, path=self.place, query=dict(self._request.url.params))


def read_json(content: bytes, model: type[B]) -> B:
    """A body, or a line of one. Raises what the server says of one that breaks a rule."""
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise invalid_input(error) from error


def changed(accepted: Accepted[JobChanged]) -> Reply:
    """The answer to a command about one job."""
    headers = {"ETag": f'"{accepted.value.version}"', "Jobledger-Position": accepted.position or ""}
    return Reply({**shapes.changed(accepted.value), "position": accepted.position}, 200, headers)


def plain(model: BaseModel) -> dict[str, Any]:
    """What somebody set in a body."""
    return model.model_dump(exclude_unset=True)
