"""A query that forgets `WHERE tenant_id`: for the API's role it still shows nothing of another tenant (PostgreSQL).

Tenant A does all that it can, for its own things and for B's. Each statement that it ran as the API's role is run again
with the condition on the tenant taken out of its text: as the API's role nothing changes. As a superuser, whom
row-level security does not bind, it does: so the condition was what is thought, and the policies alone are enough.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib import resources
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import pytest

from jobledger.application.dlq_messages import ListDlqErrors
from jobledger.application.message import Actor
from jobledger.application.queries import GetJob
from jobledger.infrastructure.bootstrap import LedgerHandle
from jobledger.infrastructure.sql_blocks import parse
from tests.support.ledger_order import connect
from tests.support.postgres import TestCluster

from .session import everything_of_a
from .statements import Statement, recording
from .world import A, World, a_world

API = "jobledger_api"
_CONDITION = re.compile(r"(?:\b\w+\.)?\btenant_id = (%s|%\(tenant\)s)")

OF_OTHERS: Mapping[str, str] = {
    "tenant": "the catalogue is read by workers and servers alike, for all tenants: names and whether they are active",
    "lock_holder": "why a job waits is looked at beside the queue, as its worker sees it",
    "started_in_window": "the same, where a rate holds it back",
    "stored_events": "looks whether a COMMIT whose answer was lost was carried out, as the writer",
    "forget_parked_of_scope": "part of a rebuild, which is for the whole installation",
}  # fmt: skip
"""Blocks with a condition on the tenant that other roles than the API's run."""


def _tenant_blocks() -> dict[str, str]:
    """The named blocks of SQL with a condition on the tenant."""
    folder = resources.files("jobledger.infrastructure.postgres").joinpath("sql")
    blocks: dict[str, str] = {}
    for file in folder.iterdir():
        if file.name.endswith(".sql"):
            blocks |= parse(file.read_text(encoding="utf-8"))
    return {name: text for name, text in blocks.items() if _CONDITION.search(text)}


BLOCKS = _tenant_blocks()


class Ran(NamedTuple):
    """A database, B's jobs, and what tenant A ran there, by block."""

    dsn: str
    theirs: Sequence[UUID]
    statements: Mapping[str, list[Statement]]


@pytest.fixture(scope="module")
def ran(postgres_cluster: TestCluster) -> Iterator[Ran]:
    """Everything that tenant A can do, done."""
    names = {text: name for name, text in BLOCKS.items()}
    by_block: dict[str, list[Statement]] = defaultdict(list)
    with ExitStack() as ending:
        dsn = ending.enter_context(postgres_cluster.database(migrated=True))
        patch = ending.enter_context(pytest.MonkeyPatch.context())
        statements = ending.enter_context(recording(patch))
        world = ending.enter_context(a_world(dsn))
        with world.client(world.keys["everything"]) as client, statements.of() as found:
            list(everything_of_a(world, client))
            _look_further(world, client)
        world.settle()
        for statement in found:
            if statement.role == API and statement.text in names:
                by_block[names[statement.text]].append(statement)
        names_of_b = world.theirs
        yield Ran(dsn, [UUID(job) for job in (names_of_b.job, names_of_b.dead, names_of_b.running)], by_block)


_OF_TYPE = {"type": "text.keep", "kind": "work"}


def _look_further(world: World, client: Any) -> None:  # noqa: ANN401 - httpx's
    """What only filters, the console and the command line ask."""
    place = f"/v1/tenants/{A}"
    for path in (f"{place}/jobs", f"{place}/personas/{world.theirs.persona}/jobs", f"{place}/dlq"):
        for params in ({"type": "text.keep"}, {"kind": "work"}, {"queue": world.theirs.queue}, _OF_TYPE):
            client.get(path, params=params)
    client.get(f"{place}/jobs", params={"as_of": "2099-01-01T00:00:00Z"})
    handle: LedgerHandle = world.handle
    actor = Actor(id="service:test")
    handle.dispatcher.send(ListDlqErrors, actor=actor, tenant=A)
    handle.ports.reader.streams(A, [UUID(world.theirs.job)])
    for job in (world.theirs.job, world.theirs.dead, world.theirs.running):
        handle.dispatcher.send(GetJob, actor=actor, tenant=A, job=job.replace("-", "")[-12:])


def test_every_block_was_run(ran: Ran) -> None:
    """A new statement with a condition on the tenant is run by the session, or says why it is not the API's."""
    missing = BLOCKS.keys() - ran.statements.keys() - OF_OTHERS.keys()
    assert not missing, f"ask for these in tests/isolation/session.py, or say in OF_OTHERS whose they are: {missing}"
    assert OF_OTHERS.keys() <= BLOCKS.keys() - ran.statements.keys()


@pytest.mark.parametrize("name", sorted(BLOCKS.keys() - OF_OTHERS.keys()))
def test_without_its_condition_it_shows_no_more(ran: Ran, name: str) -> None:
    """As the API's role, for whatever is asked; while a superuser is shown what is B's."""
    text = BLOCKS[name]
    forgotten, shows_more = _CONDITION.sub(r"\1::text IS NOT NULL", text), False
    with connect(ran.dsn, API) as as_api, connect(ran.dsn, "none") as as_superuser:
        for asked in (each for statement in ran.statements[name] for each in _asked(statement.parameters, ran.theirs)):
            as_api.execute("SELECT set_config('jobledger.tenant', %s, true)", (_tenant(text, asked),))
            assert _rows(as_api, forgotten, asked) == _rows(as_api, text, asked), asked
            shows_more |= _rows(as_superuser, forgotten, asked) != _rows(as_superuser, text, asked)
    assert shows_more, "the session asked for nothing that the condition keeps from it"


def _asked(parameters: Any, theirs: Sequence[UUID]) -> Iterator[Any]:  # noqa: ANN401 - as psycopg takes them
    """What was asked; the same for each of B's jobs, where jobs were named; and without an offset."""
    yield parameters
    for job in theirs:
        if isinstance(parameters, Mapping):
            yield {name: 0 if name == "scan" else _instead(value, job) for name, value in parameters.items()}
        else:
            yield tuple(_instead(value, job) for value in parameters)


def _instead(value: object, job: UUID) -> object:
    if isinstance(value, UUID):
        return job
    if isinstance(value, list) and value and isinstance(value[0], UUID):
        return [job]
    return value


def _tenant(text: str, parameters: Any) -> str:  # noqa: ANN401
    """The tenant that a statement was run for."""
    condition = _CONDITION.search(text)
    assert condition is not None
    if isinstance(parameters, Mapping):
        return str(parameters["tenant"])
    return str(parameters[text[: condition.start(1)].count("%s")])


def _rows(connection: psycopg.Connection, text: str, parameters: Any) -> list[str]:  # noqa: ANN401
    return sorted(map(repr, connection.execute(text.encode(), parameters).fetchall()))
