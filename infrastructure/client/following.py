"""Server-sent events: what happens to jobs, as it is recorded. A connection that ends is made again where it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from ..api.events import LiveEvent
from .core import Core, JobRef, backoff_seconds, failure, retry_after_seconds
from .errors import ClientError, Unreachable, Unreadable
from .exchange import Answer, Emit, Emits, Open, Pause, ReadLine, Trouble

EVENT_STREAM = "text/event-stream"
SILENT_SECONDS = 45.0
"""A server says something every 15 seconds: one that is silent for so long is gone."""
_AGAIN = (429, 502, 503, 504)


def follow(
    core: Core,
    *,
    tenant: str | None = None,
    type: str | None = None,  # noqa: A002 - as it is called everywhere
    queue: str | None = None,
    persona: str | None = None,
    topics: Sequence[str] = (),
    after: str | None = None,
) -> Emits[LiveEvent]:
    """What happens to a tenant's jobs from now on, or after a position; without end. Nothing is missed or told twice,
    whatever happens to the connection: go on from `event.position` in another process."""
    parameters = {"type": type, "queue": queue, "persona": persona, "topic": topics}
    return _followed(core, core.place(tenant, "events"), parameters, after)


def follow_job(core: Core, job: JobRef, *, tenant: str | None = None, after: str | None = None) -> Emits[LiveEvent]:
    """What happened to a job, from its beginning or after a position, and what happens to it; without end."""
    return _followed(core, core.place(tenant, "jobs", job, "events"), {}, after)


def _followed(core: Core, where: str, parameters: Mapping[str, object], after: str | None) -> Emits[LiveEvent]:
    stream, failures, deadline = _Stream(after), 0, core.monotonic() + core.deadline_seconds
    while True:
        try:
            headers = {} if stream.last_id is None else {"Last-Event-ID": stream.last_id}
            request = core.request("GET", where, parameters=parameters, headers=headers, accept=EVENT_STREAM)
            answer: Answer = yield Open(request._replace(timeout_seconds=max(request.timeout_seconds, SILENT_SECONDS)))
            if answer.status == 200:
                while (line := (yield ReadLine())) is not None:
                    failures, deadline = 0, core.monotonic() + core.deadline_seconds
                    if (event := stream.take(line)) is not None:
                        yield Emit(event)
                error: ClientError = Unreachable(f"GET {where}: the stream ended")
            elif answer.status == 204:
                return  # as the standard has it: do not come back
            elif answer.status in _AGAIN:
                error = failure(answer)
            else:
                raise failure(answer)
            told_seconds = retry_after_seconds(answer)
        except Trouble as trouble:
            error, told_seconds = Unreachable(f"GET {where}: {trouble}"), None
            if trouble.is_lasting:
                raise error from trouble
        stream.cut()
        failures += 1
        pause = max(told_seconds or 0.0, backoff_seconds(core, failures))
        if core.monotonic() + pause >= deadline:
            raise error
        yield Pause(pause)


class _Stream:
    """The lines of an event stream, and how far it was read."""

    def __init__(self, last_id: str | None) -> None:
        self.last_id = last_id
        self._id: str | None = None
        self._data: list[str] = []

    def take(self, line: str) -> LiveEvent | None:
        """The event that ends with this line, if one does. What the id says counts from then on."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                self._data.append(value)
            elif name == "id":
                self._id = value
            return None
        data, self._data = "\n".join(self._data), []
        if self._id is not None:
            self.last_id = self._id
        return _event(data) if data else None

    def cut(self) -> None:
        """The connection ended: what was begun comes again."""
        self._id, self._data = None, []


def _event(data: str) -> LiveEvent:
    try:
        return LiveEvent.model_validate_json(data)
    except ValidationError as error:
        raise Unreadable("an event that is none of jobledger's") from error
