"""The OpenAPI document, and whether the server keeps to it: answers to generated requests are what is documented."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from jobledger.infrastructure.http.app import make_document
from tests.support.http_keys import key_for
from tests.support.server import RunningServer

from .http_server import client, server

__all__ = ["client", "server"]

EXAMPLES = int(os.environ.get("TESTS_OPENAPI_EXAMPLES", "5"))
"""Generated requests of each kind for each operation; more find more."""
_TIMEOUT_SECONDS = 20
_WAIT_SECONDS_MAX = 60
CHECKS: list[CheckFunction] = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance, negative_data_rejection,
]  # fmt: skip

DOCUMENT: dict[str, Any] = make_document(version="1")
"""As it is written; what a server shows is compared with it."""
OPERATIONS: dict[str, dict[str, Any]] = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
ENDLESS = {"GET /v1/tenants/{tenant}/jobs/{job_id}/events", "GET /v1/tenants/{tenant}/events"}
"""Answers that go on: they are asked for what is not there. (What they say has tests of its own.)"""
OPEN = {"GET /livez", "GET /readyz"}
"""Without a key."""
ANY_BODY = {"POST /v1/tenants/{tenant}/jobs/bulk"}
"""Lines are judged one by one, in the answer: no body as a whole is wrong."""
REFUSED = {(401, "unauthenticated"), (429, "too_many_requests")}
METHODS = {"GET", "PUT", "POST", "DELETE", "PATCH"}


class Subject(NamedTuple):
    """Who asks, and for what there is."""

    url: str
    session: requests.Session
    path: Mapping[str, object]


# --- what it says ----------------------------------------------------------------------------------------------------


def test_a_server_shows_the_document(client: httpx.Client, server: RunningServer) -> None:
    """OpenAPI 3.1, without a key."""
    shown = httpx.get(f"{server.url}/v1/openapi.json")
    assert (shown.status_code, shown.json()["openapi"][:3]) == (200, "3.1")
    assert shown.json()["paths"] == DOCUMENT["paths"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_documented(name: str) -> None:
    """A name, a sentence, a description, tags, examples, the problems that may come, and how to prove who asks."""
    operation = OPERATIONS[name]
    assert all(operation.get(part) for part in ("operationId", "summary", "description", "tags"))
    assert _has_example(operation.get("requestBody", {}), {}) or "requestBody" not in operation, (
        "an example of its body"
    )
    if name in OPEN:
        return
    assert operation["security"] == [{"bearer": []}]
    problems = {status for status in operation["responses"] if status[0] in "45"}
    assert {"401", "403", "422", "429", "500", "503"} <= problems
    for status in problems:
        assert set(operation["responses"][status]["content"]) == {"application/problem+json"}


def test_names_of_operations_are_unique() -> None:
    """Clients are generated from them."""
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)


def _has_example(part: Any, seen: dict[str, None]) -> bool:  # noqa: ANN401 - any JSON
    """Whether there is one in it, or in what it refers to."""
    if isinstance(part, list):
        return any(_has_example(each, seen) for each in part)
    if not isinstance(part, dict):
        return False
    if part.get("examples") or "example" in part:
        return True
    reference = part.get("$ref")
    if isinstance(reference, str) and reference not in seen:
        seen[reference] = None
        return _has_example(DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]], seen)
    return any(_has_example(each, seen) for each in part.values())


# --- whether it is so ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def subjects(server: RunningServer) -> Iterator[Mapping[str, Subject]]:
    """By role: somebody with a key, and things that are there."""
    with server.client() as administrator, ExitStack() as ending:
        things, found = _things(administrator), {}
        for role in ("admin", "auditor", "worker"):
            session = ending.enter_context(requests.Session())
            key = server.key if role == "admin" else key_for(administrator, role).credential
            session.headers["Authorization"] = f"Bearer {key}"
            found[role] = Subject(server.url, session, things)
        yield found


def _things(administrator: httpx.Client) -> dict[str, object]:
    job = administrator.post("/v1/tenants/acme/jobs", json={
        "type": "number.double", "persona": "bot", "correlation_id": "request-1", "payload": {"number": 1},
    }).json()  # fmt: skip
    return {
        "tenant": "acme", "job_id": job["job_id"], "persona": "bot", "queue": "default", "request": "request-1",
        "scope": "queue", "name": "default", "key": "gateway", "attempt": 1,
        "key_id": key_for(administrator, "emitter").key_id,
        "operation_id": "nothing", "export_id": job["job_id"],
    }  # fmt: skip


SCHEMA = schemathesis.openapi.from_dict(json.loads(json.dumps(DOCUMENT)))


@schemathesis.serializer("application/jsonl")
def _as_it_is(_context: object, value: object) -> bytes:
    """Lines are a text in the document."""
    return str(value).encode("utf-8", "surrogatepass")


def _cases() -> Iterator[object]:
    """Each operation with what is right and what is wrong (where anything can be), by an administrator; what is right
    also by an auditor, who may not do most of it; what workers do by a worker."""
    for name in OPERATIONS:
        yield pytest.param("admin", name, GenerationMode.POSITIVE, id=f"{name} right")
        if name in OPEN:
            continue
        yield pytest.param("admin", name, GenerationMode.NEGATIVE, id=f"{name} wrong")
        yield pytest.param("auditor", name, GenerationMode.POSITIVE, id=f"{name} by an auditor")
        if "workers" in OPERATIONS[name]["tags"]:
            yield pytest.param("worker", name, GenerationMode.POSITIVE, id=f"{name} by a worker")


@pytest.mark.parametrize(("role", "name", "mode"), list(_cases()))
def test_answers_are_as_documented(
    subjects: Mapping[str, Subject], role: str, name: str, mode: GenerationMode
) -> None:  # fmt: skip
    """No 500, no status or content type that is not documented, and no answer of another shape."""
    subject = subjects[role]
    method, _, path = name.partition(" ")
    operation = SCHEMA[path][method]
    known = {key: value for key, value in subject.path.items() if f"{{{key}}}" in path}
    if name in ENDLESS:
        known["tenant"] = "nobody"
    strategies = [operation.as_strategy(mode, path_parameters=known)] if known else []
    if mode is GenerationMode.POSITIVE or not known:
        strategies.append(operation.as_strategy(mode))
    checks = [check for check in CHECKS if name not in ANY_BODY or check is not negative_data_rejection]
    for strategy in strategies:
        _ask(subject, strategy, checks)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in OPEN])
def test_nobody_is_answered_without_a_key(subjects: Mapping[str, Subject], name: str) -> None:
    """With none, or one that opens nothing (of which a server looks at so many a second): whatever is asked."""
    method, _, path = name.partition(" ")
    url = subjects["admin"].url + path.format(**subjects["admin"].path)
    for headers in ({}, {"Authorization": "Bearer jl_nobody.nothing"}):
        answered = requests.request(method, url, headers=headers, timeout=_TIMEOUT_SECONDS)
        assert (answered.status_code, answered.json()["code"]) in REFUSED


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_methods_that_are_not_documented_are_not_there(subjects: Mapping[str, Subject], path: str) -> None:
    """405, with those that are: of the path itself, or of a job whose id would be its last word."""
    subject = subjects["admin"]
    place = path.format(**subject.path)
    documented = {
        method.upper() for other, methods in DOCUMENT["paths"].items() for method in methods
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", other), place)
    }  # fmt: skip
    for method in sorted(METHODS - documented):
        answered = subject.session.request(method, subject.url + place, timeout=_TIMEOUT_SECONDS)
        assert (answered.status_code, answered.headers["Content-Type"]) == (405, "application/problem+json")
        assert set(answered.headers["Allow"].split(", ")) - {"HEAD"} == documented


def _ask(subject: Subject, strategy: Any, checks: list[CheckFunction]) -> None:  # noqa: ANN401 - hypothesis' strategy
    @seed(20_260_302)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),
    )  # fmt: skip
    @given(case=strategy)
    def asked(case: schemathesis.Case[Any]) -> None:
        _shorten(case)
        answered = case.call(base_url=subject.url, session=subject.session, timeout=_TIMEOUT_SECONDS)
        case.validate_response(answered, checks=checks)

    asked()


def _shorten(case: schemathesis.Case[Any]) -> None:
    """Nobody waits here."""
    for part in (case.body, case.query):
        waiting = part.get("wait_seconds") if isinstance(part, dict) else None
        if isinstance(part, dict) and isinstance(waiting, int | float) and 0 <= waiting <= _WAIT_SECONDS_MAX:
            part["wait_seconds"] = 0  # what is wrong stays so
