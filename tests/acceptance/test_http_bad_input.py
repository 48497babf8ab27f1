"""Whatever is sent: a problem document where HTTP lets one answer, nothing recorded but the refusal, and no harm."""

from __future__ import annotations

import base64
import hmac
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest

from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.settings import load
from tests.support.http_keys import MadeKey, key_for, refusals
from tests.support.issuer import Issuer, issuer, rsa_key, signed
from tests.support.postgres import TestCluster
from tests.support.server import RunningServer, running_server

from .http_server import prepare

PLACE = "/v1/tenants/acme/jobs"
JSON = {"Content-Type": "application/json"}
NOBODYS = "0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f"
GOOD = {"type": "number.double", "payload": {"number": 1}}
REFUSALS = {"access.refused", "access.allowed", "dispatch.refused"}
"""All that a refusal may leave behind: the second where who asked may, and the state of things says no."""
MEGABYTE = 1 << 20
MEMORY_BYTES_MAX = 200 * MEGABYTE
"""That a server may take on top of what it has, whatever is sent to it: far less than what is sent at once."""


class Attacked(NamedTuple):
    """A server, and who signs tokens for it."""

    server: RunningServer
    issuer: Issuer

    def head(self) -> int:
        """The position of the newest event."""
        with closing(open_ledger(load(database=self.server.database))) as handle:
            return handle.ports.reader.head()

    def topics_after(self, position: int) -> set[str]:
        """What was recorded after a position."""
        with closing(open_ledger(load(database=self.server.database))) as handle:
            return {
                event.topic for tenant in ("acme", "other", SYSTEM_TENANT)
                for event in handle.ports.reader.read_tenant(tenant, position, limit=10_000).events
            }  # fmt: skip

    @property
    def resident_bytes(self) -> int:
        """The memory of its process."""
        status = Path(f"/proc/{self.server.process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) * 1_024


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def attacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """A server that also takes tokens of an issuer."""
    folder = tmp_path_factory.mktemp("bad-input")
    database = f"sqlite:///{folder}/ledger.db"
    with ExitStack() as ending:
        if request.param == "postgres":
            cluster: TestCluster = request.getfixturevalue("postgres_cluster")
            database = ending.enter_context(cluster.database(migrated=True))
        signing = ending.enter_context(issuer())
        grants = {"ops": {"role": "admin"}}
        server = ending.enter_context(running_server(database, folder, settings={
            "JOBLEDGER_OIDC_ISSUER": signing.url, "JOBLEDGER_OIDC_AUDIENCE": "jobledger",
            "JOBLEDGER_OIDC_GRANTS_CLAIM": "roles", "JOBLEDGER_OIDC_GRANTS": json.dumps(grants),
        }))  # fmt: skip
        prepare(server)
        yield Attacked(server, signing)


@pytest.fixture
def server(attacked: Attacked) -> RunningServer:
    """The server alone."""
    return attacked.server


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    """An administrator's client."""
    with server.client() as client:
        yield client


@pytest.fixture(autouse=True)
def _unharmed(attacked: Attacked) -> Iterator[None]:
    """After each test the server answers, has recorded nothing but refusals (and what the test did rightly, which it
    does before `attacked.head()` is asked), and has not grown."""
    before, head = attacked.resident_bytes, attacked.head()
    yield
    assert attacked.server.process.poll() is None
    assert httpx.get(f"{attacked.server.url}/readyz").status_code == 200
    assert attacked.topics_after(head) <= REFUSALS | _MADE_BY_TESTS
    assert attacked.resident_bytes - before < MEMORY_BYTES_MAX


_MADE_BY_TESTS = {
    "api_key.created", "api_key.revoked", "tenant.suspended", "tenant.resumed", "audit.export_begun", "audit.exported",
}  # fmt: skip
"""What tests do rightly, to see what is refused afterwards. No job, no limit, no pause among them."""


def is_problem(answered: httpx.Response, *statuses: int) -> dict[str, Any]:
    """The problem document, with one of these statuses."""
    problem: dict[str, Any] = answered.json()
    assert answered.headers["Content-Type"] == "application/problem+json"
    assert (problem["status"], answered.status_code) == (answered.status_code, answered.status_code)
    assert answered.status_code in statuses, problem
    assert problem["request_id"] == answered.headers["X-Request-Id"]
    return problem


# --- bodies ----------------------------------------------------------------------------------------------------------

_DEEP = 100_000
BODIES: dict[str, tuple[bytes, set[int]]] = {
    "half of it": (b'{"type": "number.double", "payload": ', {400}),
    "nothing": (b"", {400, 422}),
    "no JSON": (b"type=number.double", {400}),
    "no object": (b'["number.double"]', {422}),
    "null": (b"null", {422}),
    "not UTF-8": (b'{"type": "number.double", "persona": "\xff\xfe"}', {400, 422}),
    "NaN": (b'{"type": "number.double", "payload": {"number": NaN}}', {400, 422}),
    "deep lists": (b'{"payload": {"number": ' + b"[" * _DEEP + b"]" * _DEEP + b"}}", {400, 422}),
    "deep objects": (b'{"payload": ' + b'{"a":' * _DEEP + b"1" + b"}" * _DEEP + b"}", {400, 422}),
    "somewhat deep": (b'{"type": "number.double", "payload": ' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}", {400, 422}),
    "NUL in a name": (b'{"type": "number.double", "persona": "a\\u0000b"}', {422}),
    "NUL in the type": (b'{"type": "number\\u0000double"}', {422}),
    "NUL in the payload": (b'{"type": "text.keep", "payload": {"lines": ["fine", "a\\u0000b"]}}', {422}),
    "NUL in a name in the payload": (b'{"type": "text.keep", "payload": {"a\\u0000b": 1}}', {422}),
    "half a character": (b'{"type": "number.double", "persona": "\\ud800"}', {400, 422}),
    "half a character as type": (b'{"type": "\\udfff"}', {400, 422}),
    "half a character in the payload": (b'{"type": "number.double", "payload": {"x": "\\ud800"}}', {400, 422}),
    "half a character as key": (b'{"type": "number.double", "idempotency_key": "\\ud800"}', {400, 422}),
    "beyond 2^63": (b'{"type": "number.double", "priority": 9223372036854775808}', {422}),
    "far beyond": (b'{"type": "number.double", "priority": 1' + b"0" * 4_000 + b"}", {400, 422}),
    "endless digits": (b'{"type": "number.double", "payload": {"number": 1' + b"0" * 20_000 + b"}}", {400, 422}),
    "no number": (b'{"type": "number.double", "delay_seconds": 1e999}', {400, 422}),
    "a huge delay": (b'{"type": "number.double", "delay_seconds": 1e300}', {422}),
    "a negative timeout": (b'{"type": "number.double", "timeout_seconds": -1}', {422}),
    "a time before time": (b'{"type": "number.double", "run_at": "0001-01-01T00:00:00+14:00"}', {422}),
    "a time after time": (b'{"type": "number.double", "run_at": "9999-12-31T23:59:59-14:00"}', {422}),
    "a strange policy": (b'{"type": "number.double", "retry": {"kind": "fixed", "max_attempts": 1e18}}', {422}),
    "a long name": (b'{"type": "number.double", "persona": "' + b"a" * 100_000 + b'"}', {422}),
    "a payload of text": (b'{"type": "number.double", "payload": "number"}', {422}),
    "more than there is": (b'{"type": "number.double", "tenant": "other"}', {422}),
    "an actor of one's own": (b'{"type": "number.double", "actor": {"id": "key:admin"}}', {422}),
    "scopes of one's own": (b'{"type": "number.double", "allowed_queues": null}', {422}),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_wrong_is_a_problem(client: httpx.Client, name: str) -> None:
    """It names the field or the body, and never repeats what was sent."""
    content, statuses = BODIES[name]
    problem = is_problem(client.post(PLACE, content=content, headers=JSON), *statuses)
    assert problem["field"] and len(json.dumps(problem)) < 3_000


@pytest.mark.parametrize("path", [PLACE, "/v1/tenants/acme/suspend"])
@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b'{"payload": ' + b"[" * _DEEP, "nested too deeply"),
        (b'{"priority": 1' + b"0" * 5_000 + b"}", "a number has too many digits"),
        (b'{"type": }', "the body is not JSON: "),
        (b'{"reason": "\xff"}', "the body is not UTF-8"),
    ],
)
def test_what_keeps_a_body_from_being_read_is_told(
    client: httpx.Client, path: str, content: bytes, detail: str
) -> None:  # fmt: skip
    """As far as the parser tells it."""
    assert detail in is_problem(client.post(path, content=content, headers=JSON), 400)["detail"]


@pytest.mark.parametrize(
    "headers", [{"Content-Encoding": "gzip"}, {"Content-Type": "application/json; charset=utf-16"}]
)
def test_another_encoding_is_refused(client: httpx.Client, headers: dict[str, str]) -> None:
    """Of a body that is compressed, or in another charset, the header is named."""
    for path in (PLACE, f"{PLACE}/bulk", "/v1/tenants"):
        problem = is_problem(client.post(path, json=GOOD, headers=headers), 415)
        assert problem["field"] == f"header.{next(iter(headers))}"


def test_an_operation_that_is_not_there_is_none(client: httpx.Client) -> None:
    """Named as the address names it."""
    problem = is_problem(client.get("/v1/tenants/acme/operations/nothing"), 404)
    assert (problem["field"], problem["detail"]) == ("path.operation_id", "there is no operation 'nothing'")


def test_what_is_said_twice_counts_once(client: httpx.Client) -> None:
    """Of a member that stands twice in an object the last is taken, by every check alike: the type that was checked is
    the type that is told."""
    body = b'{"type": "number.double", "type": "number.triple"}'
    assert is_problem(client.post(PLACE, content=body, headers=JSON), 422)["code"] == "unknown_job_type"


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data", "/", ""],
)
def test_another_content_type_is_refused(client: httpx.Client, content_type: str) -> None:
    """Only JSON is taken as JSON: a form of some page cannot be sent here."""
    answered = client.post(PLACE, content=json.dumps(GOOD), headers={"Content-Type": content_type})
    is_problem(answered, 415, 422)


@pytest.mark.parametrize("path", [PLACE, "/v1/tenants", "/v1/keys", "/v1/leases/claim"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_hundred_megabytes_are_not_taken(client: httpx.Client, path: str, *, chunked: bool) -> None:
    """Refused before it is read where its length is told, else as soon as it is too long; memory stays as it is."""
    pieces = (b" " * MEGABYTE for _ in range(100))
    headers = {**JSON, **({} if chunked else {"Content-Length": str(100 * MEGABYTE)})}
    with suppress(httpx.WriteError, httpx.RemoteProtocolError):  # it may hang up while more is being sent
        problem = is_problem(client.post(path, content=pieces, headers=headers), 413)
        assert problem["code"] == "payload_too_large"


def test_a_line_without_an_end_is_not_kept(client: httpx.Client) -> None:
    """JSON Lines are read line by line: one of 100 MB is refused, and so is a hundred of a megabyte each."""
    headers = {"Content-Type": "application/jsonl"}
    for end in (b"", b"\n"):
        pieces = (b" " * (MEGABYTE - 1) + (end or b" ") for _ in range(100))
        with suppress(httpx.WriteError, httpx.RemoteProtocolError):
            answered = client.post(f"{PLACE}/bulk", content=pieces, headers=headers)
            assert answered.status_code in (200, 413), answered.text
            assert '"accepted":0' in answered.text or answered.status_code == 413


def test_many_large_bodies_at_once(attacked: Attacked) -> None:
    """Each below the limit, from somebody who proves nothing: they are refused without being kept."""
    url = urlsplit(attacked.server.url)
    head = (
        f"POST {PLACE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {7 * MEGABYTE}\r\n\r\n"
    )
    with ExitStack() as ending:
        connections = [ending.enter_context(_connected(url.hostname, url.port)) for _ in range(40)]
        for connection in connections:
            connection.sendall(head.encode())
            with suppress(OSError):
                connection.sendall(b" " * MEGABYTE)
        for connection in connections:
            assert connection.recv(1_000).startswith(b"HTTP/1.1 401")


# --- addresses, methods, headers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/v1/tenants/acme/jobs/not-a-uuid",
        "/v1/tenants/acme/jobs/" + "0" * 5_000,
        "/v1/tenants/ACME/jobs",
        "/v1/tenants/..%2f..%2fetc%2fpasswd/jobs",
        "/v1/tenants/acme%2f..%2fother/jobs",
        "/v1/tenants/%00/jobs",
        "/v1/tenants/acme%00/jobs",
        "/v1/tenants/%ed%a0%80/jobs",
        "/v1/tenants/%ff/jobs",
        "/v1/tenants/a'--/jobs",
        "/v1/tenants/acme/personas/" + "a" * 5_000 + "/jobs",
        "/v1/tenants/acme/personas/%00/jobs",
        "/v1/tenants/acme/traces/%00",
        "/v1/tenants/acme/traces/" + "a" * 5_000,
        "/v1/tenants/acme/operations/%00",
        "/v1/tenants/acme/operations/ff.9999999999999999999999",
        "/v1/tenants/acme/dlq/1",
        "/v1/keys/..%2f..",
        "/v1/limits/queue/%00",
        "/v1/limits/nothing/x",
        f"/v1/tenants/acme/jobs/{NOBODYS}/attempts/99999999999999999999/complete",
        "/v1//tenants",
        "/v1/tenants/",
        "/v9",
        "/v1/audit/exports/%00?tenant=acme",
        "/static/../../etc/passwd",
        "/v1/static/..%2f..%2fetc%2fpasswd",
    ],
)
def test_an_address_that_is_wrong_is_a_problem(client: httpx.Client, path: str) -> None:
    """Never a file, another tenant, or an error of ours; a name that nothing has finds nothing."""
    answered = client.get(path)
    assert "root:" not in answered.text
    if path.startswith("/v1") and answered.status_code != 200:
        is_problem(answered, 404, 405, 422)
    else:
        assert answered.status_code == 404 or answered.json()["jobs"] == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=9223372036854775808",
        "limit=-1",
        "limit=1e3",
        "limit=",
        "cursor=%00",
        "cursor=" + "a" * 10_000,
        "cursor=%ed%a0%80",
        "created_from=yesterday",
        "created_from=0001-01-01T00:00:00%2B14:00",
        "created_to=9999-12-31T23:59:59-14:00",
        "as_of=9999-12-31T23:59:59-14:00",
        "as_of=" + "9" * 1_000,
        "status=gone",
        "after=1.99999999999999999999999",
        "after=%00",
        "queue=" + "a" * 5_000,
        "failed=maybe",
        "limit=1&limit=x",
        "limit=1&limit=2",
        "limit=1&limit=1",
    ],
)
def test_a_query_that_is_wrong_is_a_problem(client: httpx.Client, query: str) -> None:
    """It names the parameter."""
    problem = is_problem(client.get(f"{PLACE}?{query}"), 422)
    assert problem["field"].startswith("query.")


@pytest.mark.parametrize("queue", ["%00", "%ed%a0%80", "%ff", "'; DROP TABLE ledger; --", "%F0%9F%92%A9"])
def test_strange_names_find_nothing(client: httpx.Client, queue: str) -> None:
    """Text is text: what no queue can be called is refused, or found nowhere."""
    answered = client.get(f"{PLACE}?queue={queue}")
    assert answered.status_code == 422 or answered.json()["jobs"] == []


def test_many_parameters_are_only_many(client: httpx.Client) -> None:
    """Thousands of parameters nobody knows, or of one that may be repeated."""
    for name in ("x", "topic"):
        query = "&".join(f"{name}={number}" for number in range(5_000))
        answered = client.get(f"{PLACE}?{query}")
        assert answered.status_code in (200, 400, 414, 422, 431)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
def test_another_method_is_a_problem(client: httpx.Client, method: str) -> None:
    """405, and which are allowed."""
    answered = client.request(method, PLACE)
    problem = is_problem(answered, 405)
    assert problem["code"] == "method_not_allowed" and set(answered.headers["Allow"].split(", ")) & {"GET", "POST"}


@pytest.mark.parametrize("override", ["X-HTTP-Method-Override", "X-Method-Override"])
def test_a_method_cannot_be_smuggled_in(client: httpx.Client, override: str) -> None:
    """A header does not make a GET a POST."""
    answered = client.get("/v1/tenants", headers={override: "POST"})
    assert answered.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Request-Id": "a" * 30_000},
        {"X-Request-Id": "a b; drop"},
        {"traceparent": "00-" + "0" * 55},
        {"traceparent": "a" * 20_000},
        {"If-None-Match": "a" * 20_000},
        {"Accept-Encoding": "gzip;q=x," * 500},
        {"Range": "bytes=0-999999999999999"},
        {"X-Forwarded-For": "10.0.0.1"},
        {"X-Forwarded-Host": "evil.example"},
        {"Host": "evil.example"},
        {"Content-Type": "application/json; charset=utf-7"},
    ],
)
def test_strange_headers_change_nothing(client: httpx.Client, headers: dict[str, str]) -> None:
    """They are ignored, or refused."""
    answered = client.get("/v1/tenants", headers=headers)
    assert answered.status_code in (200, 400, 431)
    assert "evil" not in answered.text and "evil" not in str(answered.headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"Jobledger-On-Behalf-Of": "a" * 201},
        {"Jobledger-On-Behalf-Of": "\x7f"},
        {"Idempotency-Key": "a" * 5_000},
        {"Idempotency-Key": ""},
        {"Idempotency-Key": "\xff"},
    ],
)
def test_a_header_that_is_wrong_is_a_problem(client: httpx.Client, headers: dict[str, str]) -> None:
    """It is named, and nothing is dispatched."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answered = client.post(PLACE, json={**GOOD, "type": "number.triple"}, headers=raw)
    is_problem(answered, 422)


def test_headers_without_an_end_are_not_kept(attacked: Attacked) -> None:
    """A megabyte of headers is refused or hung up on, long before it is all there."""
    said = _raw(attacked, b"GET /v1/tenants HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * MEGABYTE)
    assert said == b"" or said.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))


# --- who asks --------------------------------------------------------------------------------------------------------


def _claims(attacked: Attacked, **other: object) -> dict[str, object]:
    now = int(time.time())
    return {
        "iss": attacked.issuer.url, "aud": "jobledger", "sub": "ana", "iat": now, "exp": now + 600, "roles": ["ops"],
        **other,
    }  # fmt: skip


def _part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _unsigned(claims: dict[str, object], algorithm: str) -> str:
    header = {"alg": algorithm, "typ": "JWT", "kid": "rsa-1"}
    return f"{_part(json.dumps(header).encode())}.{_part(json.dumps(claims).encode())}."


def _signed_with_public_key(claims: dict[str, object]) -> str:
    """What a careless verifier takes: the public key as a shared secret."""
    unsigned = _unsigned(claims, "HS256").rstrip(".")
    secret: bytes = rsa_key().as_pem(private=False)
    return f"{unsigned}.{_part(hmac.digest(secret, unsigned.encode(), 'sha256'))}"


def test_a_good_token_is_taken(attacked: Attacked) -> None:
    """So that what is refused below is refused for what is wrong with it."""
    token = signed(_claims(attacked), rsa_key())
    with attacked.server.client(token) as client:
        assert client.get("/v1/tenants").status_code == 200


@pytest.mark.parametrize(
    "wrong",
    ["expired", "not yet", "another audience", "another issuer", "nobody", "none", "None", "another key", "cut", "long",
     "three dots", "HS256 with the public key"],
)  # fmt: skip
def test_a_token_that_proves_nothing_is_refused(attacked: Attacked, wrong: str) -> None:
    """All in the same words; nothing is recorded, as nobody is known who could have done it."""
    now, key = int(time.time()), rsa_key()
    good = _claims(attacked)
    tokens: dict[str, Callable[[], str]] = {
        "expired": lambda: signed(good | {"exp": now - 3_600}, key),
        "not yet": lambda: signed(good | {"nbf": now + 3_600}, key),
        "another audience": lambda: signed(good | {"aud": "another"}, key),
        "another issuer": lambda: signed(good | {"iss": "https://evil.example"}, key),
        "nobody": lambda: signed({name: value for name, value in good.items() if name != "sub"}, key),
        "none": lambda: _unsigned(good, "none"), "None": lambda: _unsigned(good, "None"),
        "another key": lambda: signed(good, rsa_key(2)), "cut": lambda: signed(good, key)[:-5],
        "long": lambda: "a." * 8_000, "three dots": lambda: "...",
        "HS256 with the public key": lambda: _signed_with_public_key(good),
    }  # fmt: skip
    head = attacked.head()
    with attacked.server.client(tokens[wrong]()) as client:
        problem = is_problem(client.post(PLACE, json=GOOD), 401)
    assert problem["code"] == "unauthenticated" and "detail" in problem
    assert attacked.topics_after(head) == set()


@pytest.mark.parametrize(
    "credential",
    ["", "jl_admin", "jl_admin.", "jl_admin." + "A" * 43, "jl_admin." + "A" * 5_000, "jl_%00.x", "jl_../x." + "A" * 43,
     "a" * 20_000, "\xff", "jl_admin.x jl_admin.y"],
)  # fmt: skip
def test_a_key_that_proves_nothing_is_refused(server: RunningServer, credential: str) -> None:
    """All in the same words."""
    headers = [(b"Authorization", f"Bearer {credential}".rstrip().encode("latin-1"))]
    problem = is_problem(httpx.get(f"{server.url}/v1/tenants", headers=headers), 401)
    assert problem["code"] == "unauthenticated"


def test_a_revoked_key_is_none(server: RunningServer, client: httpx.Client) -> None:
    """After two seconds at most, everywhere."""
    made = key_for(client, "emitter")
    with server.client(made.credential) as gone:
        assert gone.get(PLACE).status_code == 200
        client.post(f"/v1/keys/{made.key_id}/revoke", json={"reason": "it leaked"})
        deadline = time.monotonic() + 30
        while gone.get(PLACE).status_code == 200 and time.monotonic() < deadline:
            pass
        is_problem(gone.post(PLACE, json=GOOD), 401)


def test_a_suspended_tenant_gets_no_jobs(server: RunningServer, client: httpx.Client) -> None:
    """Its keys still prove who asks; what they ask for is refused, and on record."""
    made = key_for(client, "emitter", tenants=["other"])
    client.post("/v1/tenants/other/suspend", json={"reason": "it did not pay"})
    try:
        with server.client(made.credential) as suspended:
            problem = is_problem(suspended.post("/v1/tenants/other/jobs", json=GOOD), 409)
            assert problem["code"] == "tenant_suspended"
    finally:
        client.post("/v1/tenants/other/resume", json={"reason": "it paid"})


# --- OWASP API top 10 ------------------------------------------------------------------------------------------------


@pytest.fixture
def emitter(client: httpx.Client) -> MadeKey:
    """A key that may dispatch for `acme`, and look at its jobs."""
    return key_for(client, "emitter", tenants=["acme"])


def test_another_tenants_things_are_not_there(server: RunningServer, emitter: MadeKey) -> None:
    """API1, objects: whatever id is asked for. (Every route: `tests/isolation`.)"""
    with server.client(emitter.credential) as client:
        for path in ("/v1/tenants/other/jobs", f"/v1/tenants/other/jobs/{NOBODYS}", "/v1/tenants/other/statistics"):
            problem = is_problem(client.get(path), 404)
            nowhere = is_problem(client.get(path.replace("other", "nobody")), 404)
            assert problem["code"] == nowhere["code"] == "unknown_tenant"
            assert problem["hint"] == nowhere["hint"] and "has no grant for it" in problem["hint"]


@pytest.mark.parametrize(
    ("request_line", "body"),
    [
        ("POST /v1/keys", {"name": "mine", "grants": [{"role": "admin"}], "reason": "x"}),
        ("POST /v1/keys/admin/rotate", {"reason": "x"}),
        ("POST /v1/keys/admin/revoke", {"reason": "x"}),
        ("POST /v1/tenants", {"name": "mine", "reason": "x"}),
        ("POST /v1/tenants/acme/suspend", {"reason": "x"}),
        ("POST /v1/tenants/acme/pause", {"reason": "x"}),
        ("PUT /v1/limits/tenant/acme", {"concurrency": 1, "reason": "x"}),
        (f"POST /v1/tenants/acme/jobs/{NOBODYS}/cancel", {"reason": "x"}),
        (f"POST /v1/tenants/acme/jobs/{NOBODYS}/requeue", {"reason": "x"}),
        ("POST /v1/tenants/acme/dlq/discard", {"filter": {}, "reason": "x", "expected_count": 1}),
        ("POST /v1/leases/claim", {"worker": "w"}),
        ("GET /v1/audit/events?tenant=acme", None),
    ],
)
def test_what_a_role_may_not_do_is_refused(
    server: RunningServer, client: httpx.Client, emitter: MadeKey, request_line: str, body: object
) -> None:  # fmt: skip
    """API5, functions: 403, nothing done, and who tried is on record with address and request."""
    with server.client(emitter.credential, **{"X-Request-Id": "tried", "X-Forwarded-For": "203.0.113.1"}) as trying:
        problem = is_problem(trying.request(*request_line.split(), json=body), 403)
    assert problem["code"] == "not_permitted"
    (refusal,) = refusals(client, emitter.identity)
    assert (refusal["request_id"], refusal["address"]) == ("tried", "127.0.0.1")


def test_properties_that_one_may_not_see_or_set(server: RunningServer, client: httpx.Client, emitter: MadeKey) -> None:
    """API3, properties: payloads are a permission of their own; members that nobody offered are refused."""
    with server.client(emitter.credential) as trying:
        for query in ("payload=true", "payload=1"):
            assert is_problem(trying.get(f"{PLACE}/{NOBODYS}?{query}"), 403)["code"] == "not_permitted"
        for member in (
            "tenant",
            "status",
            "attempt",
            "version",
            "result",
            "job_id",
            "created_at",
            "__proto__",
            "actor",
        ):
            problem = is_problem(trying.post(PLACE, json={**GOOD, member: "x"}), 422)
            assert problem["field"] == member
        grants: dict[str, Any] = {"role": "emitter", "permissions": ["keys.administer"]}
        wrong = {"name": "x", "grants": [grants], "reason": "x"}
        is_problem(trying.post("/v1/keys", json=wrong), 403, 422)


def test_nobody_gives_more_than_is_offered(client: httpx.Client) -> None:
    """API3: an unknown permission, role, tenant or member in a grant is refused."""
    for grant in (
        {"role": "root"}, {"role": "emitter", "extra": ["keys.administer"]}, {"role": "emitter", "tenants": ["nobody"]},
        {"role": "emitter", "tenants": []}, {"role": "emitter", "queues": [" "]}, {"role": "emitter", "admin": True},
    ):  # fmt: skip
        answered = client.post("/v1/keys", json={"name": "x", "grants": [grant], "reason": "x"})
        is_problem(answered, 404, 422)


def test_what_is_asked_is_bounded(client: httpx.Client) -> None:
    """API4, resources: pages, waits and batches have an end."""
    for path in (f"{PLACE}?limit=501", f"{PLACE}/{NOBODYS}/result?wait_seconds=31", "/v1/keys?limit=100000"):
        assert is_problem(client.get(path), 422)["field"].startswith("query.")
    problem = is_problem(client.post("/v1/leases/claim", json={"worker": "w", "wait_seconds": 31}), 403, 422)
    assert problem["status"] == 422


def test_answers_say_nothing_of_the_inside(server: RunningServer, client: httpx.Client) -> None:
    """API8, configuration: no server's name or version, no sniffing, no caching, no answer for other pages' scripts."""
    answered = client.get("/v1/tenants", headers={"Origin": "https://evil.example"})
    assert "server" not in answered.headers and "access-control-allow-origin" not in answered.headers
    assert (answered.headers["X-Content-Type-Options"], answered.headers["Cache-Control"]) == ("nosniff", "no-store")
    preflight = httpx.options(f"{server.url}{PLACE}", headers={
        "Origin": "https://evil.example", "Access-Control-Request-Method": "POST",
    })  # fmt: skip
    assert preflight.status_code in (401, 405) and "access-control-allow-origin" not in preflight.headers


# --- the wire --------------------------------------------------------------------------------------------------------


def _connected(host: str | None, port: int | None) -> socket.socket:
    assert host is not None and port is not None
    return socket.create_connection((host, port), timeout=30)


def _raw(attacked: Attacked, sent: bytes) -> bytes:
    """All that is answered to some bytes, until the server hangs up."""
    url, said = urlsplit(attacked.server.url), b""
    with _connected(url.hostname, url.port) as connection, suppress(OSError):
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65_536):
            said += piece
    return said


def _request(
    attacked: Attacked, *headers: str, body: str = "", path: str = "/v1/tenants", method: str = "POST"
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {attacked.server.key}", *headers, "", body]
    return "\r\n".join(lines).encode("latin-1")


SMUGGLED = "GET /v1/keys HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 6", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 6"),
        ("Content-Length: 6", "Content-Length: 7"),
        ("Content-Length: -1",),
        ("Content-Length: 0x10",),
        ("Content-Length: 99999999999999999999999",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding:\x0bchunked",),
        ("Content-Length : 6",),
        ("Content-Length: 6", " folded: yes"),
        ("Bad Header: x",),
        ("Transfer-Encoding: gzip, chunked",),
    ],
)
def test_two_readers_never_disagree_where_a_request_ends(attacked: Attacked, headers: tuple[str, ...]) -> None:
    """What is ambiguous is refused or hung up on; no second request is ever read out of a body."""
    said = _raw(attacked, _request(attacked, *headers, body=f"0\r\n\r\n{SMUGGLED}"))
    answers = [line for line in said.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert len(answers) <= 2 and not any(answer.startswith(b"HTTP/1.1 2") for answer in answers)
    assert b'"keys"' not in said


@pytest.mark.parametrize(
    "sent",
    [b"\x00" * 1_000, b"\r\n" * 1_000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01",
     b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
     b"GET " + b"/a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_http_is_answered_or_dropped(attacked: Attacked, sent: bytes) -> None:
    """It never is an error of ours."""
    assert not _raw(attacked, sent).startswith(b"HTTP/1.1 5")


def test_a_body_that_breaks_off_dispatches_nothing(attacked: Attacked) -> None:
    """Half a request is no request."""
    head = attacked.head()
    body = json.dumps(GOOD)
    _raw(attacked, _request(
        attacked, "Content-Type: application/json", f"Content-Length: {len(body) + 5}", body=body, path=PLACE
    ))  # fmt: skip
    assert attacked.topics_after(head) == set()


def test_slow_senders_keep_nobody_waiting(attacked: Attacked, client: httpx.Client) -> None:
    """Two hundred connections that send a byte now and then, headers or bodies: others are answered meanwhile."""
    url = urlsplit(attacked.server.url)
    begun = _request(attacked, "Content-Type: application/json", "Content-Length: 1000", path=PLACE)
    with ExitStack() as ending:
        slow = [ending.enter_context(_connected(url.hostname, url.port)) for _ in range(200)]
        for number, connection in enumerate(slow):
            connection.sendall(begun if number % 2 else begun[:40])
        for number in range(20):
            for connection in slow[number::20]:
                connection.sendall(b" ")
            assert client.get(PLACE, timeout=10).status_code == 200
