"""What the client asks again, how often, and what it tells when that did not help."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import httpx
import pytest

from jobledger.client import (
    ApiProblem,
    Client,
    ClientError,
    Conflict,
    DispatchRequest,
    InvalidRequest,
    NotFinished,
    NotFound,
    NotPermitted,
    NotYetVisible,
    ServerProblem,
    TooManyRequests,
    Unauthenticated,
    Unreachable,
    Unreadable,
    VersionConflict,
)
from jobledger.infrastructure.api.problems import Problem
from jobledger.infrastructure.client.errors import error_of

from .scripted import JOB, Script, changed, client_of, dispatched, lines, problem

CUT = httpx.ReadError("connection reset")
REFUSED = httpx.ConnectError("connection refused")
TENANTS = httpx.Response(200, json={"tenants": []})


@pytest.mark.parametrize("trouble", [CUT, REFUSED, problem(503), problem(429), httpx.ReadTimeout("late")], ids=str)
def test_what_only_reads_is_asked_again(trouble: httpx.Response | Exception) -> None:
    """Each time after a longer pause, until there is an answer."""
    script = Script(trouble, trouble, trouble, TENANTS)
    assert client_of(script).tenants.list() == []
    assert script.pauses == [0.1, 0.2, 0.4]


def test_the_server_says_when_to_come_back() -> None:
    """`Retry-After` counts where it is longer than the client's own pause."""
    script = Script(problem(429, Retry_After="7"), problem(503, Retry_After="0"), TENANTS)
    client_of(script).tenants.list()
    assert script.pauses == [7.0, 0.2]


@pytest.mark.parametrize(
    ("trouble", "error"), [(CUT, Unreachable), (problem(503), ServerProblem), (problem(429), TooManyRequests)], ids=str
)
def test_it_gives_up_in_time(trouble: httpx.Response | Exception, error: type[ClientError]) -> None:
    """The last trouble is told before the deadline has passed; no pause is longer than five seconds."""
    script = Script(trouble)
    with pytest.raises(error):
        client_of(script, deadline_seconds=30).tenants.list()
    assert 20 <= sum(script.pauses) < 30
    assert max(script.pauses) == 5.0


@pytest.mark.parametrize(("trouble", "error"), [(CUT, Unreachable), (problem(503), ServerProblem)], ids=str)
def test_what_may_have_been_done_is_not_done_twice(
    trouble: httpx.Response | Exception, error: type[ClientError]
) -> None:
    """A command without a key is asked for once where the server may have carried it out."""
    script = Script(trouble, changed())
    with pytest.raises(error):
        client_of(script).jobs.cancel(JOB, reason="no")
    assert len(script.requests) == 1


@pytest.mark.parametrize("trouble", [REFUSED, problem(429), httpx.ConnectTimeout("late")], ids=str)
def test_what_was_surely_not_done_is_asked_again(trouble: httpx.Response | Exception) -> None:
    """A connection that was refused carried nothing; too many requests are refused before anything is done."""
    script = Script(trouble, changed())
    assert client_of(script).jobs.cancel(JOB, reason="no").status == "cancelled"
    assert len(script.requests) == 2


@pytest.mark.parametrize("key", [None, "mine"])
def test_a_dispatch_is_the_same_however_often_it_is_sent(key: str | None) -> None:
    """It has a key of its own, new for each dispatch, or the caller's."""
    script = Script(CUT, problem(503), dispatched(), dispatched())
    client = client_of(script)
    client.dispatch("a", {"number": 1}, idempotency_key=key)
    client.dispatch("a", {"number": 1}, idempotency_key=key)
    *first, second = script.bodies()
    name = "request_key" if key is None else "idempotency_key"
    assert len(first) == 3 and first[0] == first[1] == first[2]
    assert (first[0][name] == second[name]) is (key is not None)
    assert key is None or "request_key" not in second


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidRequest), (401, Unauthenticated), (403, NotPermitted), (404, NotFound), (409, Conflict),
        (412, VersionConflict), (413, InvalidRequest), (415, InvalidRequest), (422, InvalidRequest),
        (428, VersionConflict), (500, ServerProblem), (504, NotYetVisible), (418, ApiProblem),
    ],
)  # fmt: skip
def test_a_problem_is_an_error_of_its_kind(status: int, error: type[ApiProblem]) -> None:
    """With all that the document says."""
    with pytest.raises(error) as raised:
        client_of(Script(problem(status, "some_code"))).jobs.get(JOB)
    told = raised.value
    assert (type(told), told.status, told.code, told.field) == (error, status, "some_code", "payload.number")
    assert (told.rule, told.hint, told.request_id) == ("a rule", "a hint", "r1")
    assert str(told) == "some_code: it went wrong [payload.number: a rule]; a hint (request r1)"


def test_errors_can_be_sent_to_other_processes() -> None:
    """As executors and task queues do."""
    for error in (
        error_of(Problem.model_validate(problem(404).json()), retry_after_seconds=3),
        NotFinished("it", "on"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_what_is_wrong_with_a_request_is_told_at_once() -> None:
    """Nobody waits for a minute because of a slip."""
    script = Script(httpx.LocalProtocolError("Illegal header value"))
    client = client_of(script)
    for ask in (client.tenants.list, lambda: next(client.events())):
        with pytest.raises(Unreachable, match="Illegal header"):
            ask()
    assert script.pauses == []


def test_who_answers_instead_of_the_server_is_told() -> None:
    """An error page of a proxy is a problem, too; a page where JSON should be is not taken for an answer."""
    page = httpx.Response(502, html="<h1>Bad gateway</h1>")
    with pytest.raises(ServerProblem) as raised:
        client_of(Script(page)).jobs.get(JOB)
    assert (raised.value.code, raised.value.status) == ("http_502", 502)
    with pytest.raises(Unreadable, match=r"200 \(text/html; charset=utf-8\) that is no Job"):
        client_of(Script(httpx.Response(200, html="<h1>Welcome</h1>"))).jobs.get(JOB)


def test_a_bulk_that_breaks_off_goes_on_where_it_did() -> None:
    """Items that were answered are not sent again; with the same keys the others are."""
    done = [{"line": number, "job_id": JOB, "duplicate": False, "position": "5f0c.1"} for number in (1, 2)]
    counts = {"accepted": 2, "duplicates": 0, "refused": 0, "position": "5f0c.1"}
    broken = {"summary": {**counts, "problem": problem(503).json()}}
    script = Script(CUT, lines(*done, broken), lines(done[0], {"summary": counts}))
    items = [DispatchRequest(type="a", payload={"number": number}) for number in range(3)]
    results = list(client_of(script).dispatch_many(items))
    assert [result.number for result in results] == [1, 2, 3]
    sent = [request.content.splitlines() for request in script.requests]
    assert sent == [sent[0], sent[0], sent[0][2:]]
    assert len(set(sent[0])) == 3


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lines({"summary": {"accepted": 0, "duplicates": 0, "refused": 0, "position": None}}), Unreadable),
        (lines({"line": 2, "job_id": JOB, "duplicate": False, "position": None}), Unreadable),
        (lines({"hello": 1}), Unreadable),
        (lines({"summary": {"accepted": 0, "duplicates": 0, "refused": 0, "position": None,
                            "problem": problem(500).json()}}), ServerProblem),
    ],
)  # fmt: skip
def test_results_that_are_missing_are_never_made_up(answer: httpx.Response, error: type[ClientError]) -> None:
    """Whatever the answer looks like, an item has a result of the server's or there is an error."""
    with pytest.raises(error):
        list(client_of(Script(answer)).dispatch_many([DispatchRequest(type="a")]))


def test_items_are_taken_as_they_are_needed() -> None:
    """A batch at a time: what comes after it is not looked at before its results are."""
    taken: list[int] = []

    def items() -> object:
        for number in range(1_500):
            taken.append(number)
            yield DispatchRequest(type="a")

    def answer(request: httpx.Request) -> httpx.Response:
        numbers = range(1, len(request.content.splitlines()) + 1)
        return lines(*({"line": n, "job_id": JOB, "duplicate": False, "position": None} for n in numbers))

    client = Client("http://jobs.test", tenant="acme", http=httpx.Client(transport=httpx.MockTransport(answer)))
    results = client.dispatch_many(items())  # type: ignore[arg-type]
    next(results)
    assert len(taken) == 500
    assert len(list(results)) == 1_499


def test_a_result_is_waited_for_at_the_server() -> None:
    """A long poll after the other, until time is out; each may take as long as the server was asked to wait."""
    waiting = httpx.Response(202, json={"job_id": JOB, "status": "in_progress", "version": 2})
    script = Script(waiting)
    with pytest.raises(NotFinished, match="is still in_progress"):
        client_of(script).jobs.result(JOB, timeout_seconds=0.15)
    assert [dict(request.url.params) for request in script.requests] == [
        {"wait_seconds": "0.15"}, {"wait_seconds": "0.05"}, {"wait_seconds": "0.0"},
    ]  # fmt: skip
    script = Script(waiting)
    with pytest.raises(NotFinished):
        client_of(script).jobs.result(JOB, timeout_seconds=1_000)
    assert script.requests[0].url.params["wait_seconds"] == "20.0"
    assert script.requests[0].extensions["timeout"]["read"] == 50.0


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.dispatch("a", {"number": float("nan")}),
        lambda client: client.dispatch("a", {"text": "\ud800"}),
        lambda client: client.on_behalf_of("ana\nX: y"),
        lambda client: client.jobs.cancel(JOB, reason="x" * 1_001),
    ],
)
def test_what_cannot_be_said_is_not_sent(ask: Callable[[Client], object]) -> None:
    """What JSON or a header cannot hold is a `ValueError` at once, and never sent as something else."""
    script = Script(dispatched())
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic's own, or one of ours
        ask(client_of(script))
    assert script.requests == []
