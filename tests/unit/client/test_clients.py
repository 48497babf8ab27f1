"""Where clients connect to, what they say of themselves, and that both kinds are the same."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from opentelemetry import trace

from jobledger.client import AsyncClient, Client, DispatchRequest
from jobledger.infrastructure.client import asynchronous, threaded
from jobledger.infrastructure.client.connecting import Address, address
from jobledger.infrastructure.http.app import make_document
from jobledger.infrastructure.testing.fake_server.serving import ROUTES
from jobledger.testing import FakeClient, InMemoryLedger
from tests.support.http_app import app

from .scripted import JOB, Script, client_of, dispatched, lines

TENANTS = httpx.Response(200, json={"tenants": []})


@pytest.mark.parametrize(
    ("url", "uds", "expected"),
    [
        ("http://localhost:8080", None, Address("http://localhost:8080", None)),
        ("https://jobs.example/below/", None, Address("https://jobs.example/below", None)),
        ("http+unix:///run/jobledger.sock", None, Address("http://localhost", "/run/jobledger.sock")),
        ("http+unix:///run/a%20b.sock", None, Address("http://localhost", "/run/a b.sock")),
        (None, "/run/jobledger.sock", Address("http://localhost", "/run/jobledger.sock")),
    ],
)
def test_a_server_is_at_a_url_or_at_a_socket(url: str | None, uds: str | None, expected: Address) -> None:
    """A socket may be a URL, too."""
    assert address(url, uds) == expected


@pytest.mark.parametrize(
    ("url", "uds"),
    [(None, None), ("http://a", "/b"), ("ftp://a", None), ("a:80", None), ("http://", None), ("http+unix://a/b", None)],
)
def test_anything_else_is_no_server(url: str | None, uds: str | None) -> None:
    """It is told at once, and not at the first request."""
    with pytest.raises(ValueError, match=r"url|written"):
        Client(url, uds=uds)


def test_a_socket_is_not_forgotten() -> None:
    """Whoever brings a client of httpx chooses the socket there."""
    with httpx.Client() as http, pytest.raises(ValueError, match="HTTPTransport"):
        Client(uds="/run/jobledger.sock", http=http)


def test_a_copy_of_the_fake_has_its_ledger() -> None:
    """Whoever is asked for."""
    client = FakeClient(InMemoryLedger(app, tenants=("acme", "other")), tenant="acme")
    job = client.of("other").on_behalf_of("ana").dispatch("number.double")
    assert client.of("other").ledger.assert_dispatched(tenant="other").only.job_id == job.job_id


def test_a_server_may_lie_below_a_path() -> None:
    """As behind a proxy that has other services."""
    script = Script(TENANTS)
    http = httpx.Client(transport=httpx.MockTransport(script))
    Client("https://example.com/jobs", http=http).tenants.list()
    assert str(script.requests[0].url) == "https://example.com/jobs/v1/tenants"


def test_names_stay_in_their_place() -> None:
    """A slash in one does not lead to another route."""
    script = Script(TENANTS, httpx.Response(200, json={"queues": []}))
    client = client_of(script)
    with pytest.raises(Exception, match="that is no"):
        client.queues.pause("a/../b?c#d", reason="x")
    assert script.requests[0].url.raw_path == b"/v1/queues/a%2F..%2Fb%3Fc%23d/pause"


def test_the_key_goes_with_each_request() -> None:
    """A function gives one that is renewed; without a key there is no header."""
    keys = iter(["first", "second"])
    script = Script(TENANTS)
    client = Client("http://a", lambda: next(keys), http=httpx.Client(transport=httpx.MockTransport(script)))
    client.tenants.list()
    client.tenants.list()
    client_of(script, key=None).tenants.list()
    said = [request.headers.get("Authorization") for request in script.requests]
    assert said == ["Bearer first", "Bearer second", None]
    assert script.requests[0].headers["User-Agent"].startswith("jobledger-client/")


def test_a_key_from_a_file_is_taken() -> None:
    """With the line feed at its end; what no header holds is refused before anything is sent."""
    script = Script(TENANTS)
    client_of(script, key="jl_a.b\n").tenants.list()
    assert script.requests[0].headers["Authorization"] == "Bearer jl_a.b"
    with pytest.raises(ValueError, match="printable ASCII"):
        client_of(script, key="jl_a\nb")
    with pytest.raises(ValueError, match="printable ASCII"):
        Client("http://a", lambda: "schl\u00fcssel").tenants.list()


def test_a_request_belongs_to_the_current_span() -> None:
    """Where there is one."""
    script = Script(TENANTS)
    client = client_of(script)
    client.tenants.list()
    context = trace.SpanContext(0xA1, 0xB2, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(context)):
        client.tenants.list()
    said = [request.headers.get("traceparent") for request in script.requests]
    assert said == [None, f"00-{0xA1:032x}-{0xB2:016x}-01"]


def test_somebody_is_acted_for() -> None:
    """By the copy that says so; copies share a connection, and the first closes it."""
    script = Script(TENANTS)
    client = client_of(script)
    other = client.of("other").on_behalf_of("ana@example.com")
    other.close()
    other.tenants.list()
    client.tenants.list()
    said = [request.headers.get("Jobledger-On-Behalf-Of") for request in script.requests]
    assert said == ["ana@example.com", None]


def test_a_tenant_is_named_somewhere() -> None:
    """By the client or by the call."""
    script = Script(dispatched())
    client = Client("http://a", http=httpx.Client(transport=httpx.MockTransport(script)))
    with pytest.raises(ValueError, match="which tenant"):
        client.dispatch("a")
    client.dispatch("a", tenant="acme")
    assert script.requests[0].url.path == "/v1/tenants/acme/jobs"


def _public(kind: type) -> Iterator[str]:
    for name, member in inspect.getmembers(kind):
        if not name.startswith("_") and callable(member):
            yield f"{name}{inspect.signature(member)}".replace("AsyncPart", "Part").partition("->")[0]


@pytest.mark.parametrize(
    "name", [name for name, kind in vars(threaded).items() if inspect.isclass(kind) and issubclass(kind, threaded.Part)]
)
def test_both_kinds_of_clients_can_do_the_same(name: str) -> None:
    """With the same parameters, but for items that may come asynchronously."""
    ours = {each for each in _public(getattr(threaded, name)) if not each.startswith("dispatch_many")}
    theirs = {each for each in _public(getattr(asynchronous, f"Async{name}")) if not each.startswith("dispatch_many")}
    assert ours == theirs


def test_items_may_come_asynchronously() -> None:
    """From whatever the coroutine reads."""

    async def items() -> AsyncIterator[DispatchRequest]:
        for _ in range(2):
            await asyncio.sleep(0)
            yield DispatchRequest(type="a")

    done = [{"line": number, "job_id": JOB, "duplicate": False, "position": None} for number in (1, 2)]

    async def dispatched_all() -> list[int]:
        http = httpx.AsyncClient(transport=httpx.MockTransport(Script(lines(*done))))
        async with AsyncClient("http://a", tenant="acme", http=http) as client:
            return [result.number async for result in client.dispatch_many(items())]

    assert asyncio.run(dispatched_all()) == [1, 2]


def test_the_fake_answers_what_there_is() -> None:
    """Each of its routes is one of the server's, by method and path."""
    paths = make_document(version="1")["paths"]
    real = {f"{method.upper()} {path.removeprefix('/v1/')}" for path, methods in paths.items() for method in methods}
    assert set(ROUTES) <= real


def test_while_a_claim_of_the_fake_waits_time_passes() -> None:
    """As much as the claim waits, or until there is a job; nobody else works meanwhile."""
    client = FakeClient(app, tenant="acme")
    begun = client.ledger.clock.now()
    assert client.leases.claim("w", wait_seconds=5).leases == []
    assert (client.ledger.clock.now() - begun).total_seconds() == 5
    job = client.dispatch("number.double", {"number": 2}, delay_seconds=10)
    (lease,) = client.leases.claim("w", wait_seconds=30).leases
    assert (lease.job_id, round((client.ledger.clock.now() - begun).total_seconds())) == (job.job_id, 15)
    client.leases.complete(lease, {"number": 4})
    client.ledger.assert_completed(type="number.double")
