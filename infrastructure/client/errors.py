"""What can go wrong: the server refused (a problem document), or there was no answer that could be read."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from ..api.problems import Problem


class ClientError(Exception):
    """What `jobledger.client` raises."""


class Unreachable(ClientError):
    """There was no answer, as often as it was asked. What a write asked for may have been done nevertheless."""


class Unreadable(ClientError):
    """The answer is none of jobledger's: is there a proxy, or another service at that address?"""


class NotFinished(ClientError):
    """What was waited for had not ended when time was out. It goes on."""

    def __init__(self, what: str, status: str) -> None:
        super().__init__(what, status)
        self.status = status

    def __str__(self) -> str:
        """What goes on."""
        return f"{self.args[0]} is still {self.status}"


class ApiProblem(ClientError):
    """The server says why it did not do what was asked. `code` is stable; `field`, `rule` and `hint` may be None."""

    def __init__(self, problem: Problem, retry_after_seconds: float | None = None) -> None:
        super().__init__(problem, retry_after_seconds)
        self.problem = problem
        self.code = problem.code
        self.status = problem.status
        self.field = problem.field
        self.rule = problem.rule
        self.hint = problem.hint
        self.request_id = problem.request_id
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        """What happened, which field breaks which rule, and what to do next: for a log."""
        place = f" [{': '.join(part for part in (self.field, self.rule) if part)}]" if self.field or self.rule else ""
        hint = f"; {self.hint}" if self.hint else ""
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.code}: {self.problem.detail}{place}{hint}{request}"


class InvalidRequest(ApiProblem):
    """A value breaks a rule, or the body is too large or of another kind (400, 413, 415, 422)."""


class Unauthenticated(ApiProblem):
    """Nothing proves who asks (401)."""


class NotPermitted(ApiProblem):
    """Who asks may not do that (403)."""


class NotFound(ApiProblem):
    """There is no such thing, or it is another tenant's (404)."""


class Conflict(ApiProblem):
    """As things stand that cannot be done (409)."""


class VersionConflict(ApiProblem):
    """The job has changed since it was seen (412), or the request has to say which version it is for (428)."""


class TooManyRequests(ApiProblem):
    """As often as it was asked again (429)."""


class ServerProblem(ApiProblem):
    """Something is wrong at the server, or it has too much to do (5xx)."""


class NotYetVisible(ServerProblem):
    """A list had not reached the position `after` in time (504): ask again."""


_BY_STATUS: Mapping[int, type[ApiProblem]] = {
    400: InvalidRequest, 401: Unauthenticated, 403: NotPermitted, 404: NotFound, 409: Conflict, 412: VersionConflict,
    413: InvalidRequest, 415: InvalidRequest, 422: InvalidRequest, 428: VersionConflict, 429: TooManyRequests,
    504: NotYetVisible,
}  # fmt: skip


def error_of(problem: Problem, *, retry_after_seconds: float | None = None) -> ApiProblem:
    """The error that a problem is, by its status."""
    kind = _BY_STATUS.get(problem.status, ServerProblem if problem.status >= 500 else ApiProblem)
    return kind(problem, retry_after_seconds=retry_after_seconds)


def problem_in(status: int, content: bytes) -> Problem:
    """The problem document in an answer; one made up where something between here and the server answered."""
    try:
        return Problem.model_validate_json(content)
    except ValidationError:
        return Problem(
            type="about:blank", title=f"HTTP {status}", status=status, code=f"http_{status}",
            detail=f"an answer of status {status} that is none of jobledger's",
        )  # fmt: skip
