"""No row that customers can bring about is one that a database refuses: it would stop its whole view, for everybody."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random

import pytest

from jobledger.domain.event import Facts
from jobledger.domain.identifiers import uuid7
from jobledger.domain.job import JobCompleted, JobFacts, JobFailed, JobProgressed
from jobledger.domain.moment import MOMENT_MAX
from jobledger.domain.rate_card import COST_MAX
from jobledger.domain.retry import MAX_ATTEMPTS_LIMIT, Retry
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.ports import Changes
from jobledger.projections.projection import Cause, KnownFacts, Projection, SeenEvent
from tests.support.given import completed, dispatched, failed, retried, sent_to_dlq, started
from tests.support.seen import fold_all, seen

from .views_support import ReadSide

TENANT = "t" * 63
Text = Callable[[int], str]
"""Makes text of so many letters."""
_LETTERS = Random(1)


def wide(length: int) -> str:
    """Text of four bytes a letter that no compression makes shorter."""
    return "".join(chr(_LETTERS.randint(0x10000, 0x10FFFF)) for _ in range(length))


def with_nul(length: int) -> str:
    """Text that PostgreSQL does not take."""
    return "\x00" * length


TEXTS = pytest.mark.parametrize("text", [wide, with_nul], ids=["wide", "NUL"])


def histories(text: Text) -> list[list[Facts]]:
    """Of three jobs: the longest names that a dispatch takes, and whatever a handler says, reports and asks for."""
    names = {"job_type": "a" * 120, "queue": "q" * 63, "persona": "P" * 127}
    most = {"seconds_in_queue": 1e300, "seconds_running": 1e300, "estimated_cost": COST_MAX}
    error = {"error_type": text(9_000), "message": text(9_000), "fingerprint": text(9_000)}
    birth = dispatched().model_copy(
        update={
            "due_at": MOMENT_MAX, "priority": 100, "kind": "orchestration",
            "retry": Retry.fixed(max_attempts=MAX_ATTEMPTS_LIMIT),
        }
    )  # fmt: skip

    def named(facts: JobFacts, **fields: object) -> JobFacts:
        return facts.model_copy(update={**names, **fields})

    progress = JobProgressed(job_type="", queue="", attempt=1, fraction=1.0, note="")
    failure: JobFailed = failed()
    success: JobCompleted = completed()
    begin = [named(birth), named(started()), named(progress)]
    return [
        [*begin, named(success, **most), named(success, **most)],
        [*begin, named(failure, **error, **most), named(retried(), due_at=datetime(1900, 1, 1, tzinfo=UTC))],
        [*begin, named(failure, **error, **most), named(sent_to_dlq(), reason="integrity_violation", **error)],
    ]


def events(text: Text) -> list[SeenEvent]:
    """The histories as events of a tenant whose caller chose the ids of the request."""
    found: list[SeenEvent] = []
    for number, history in enumerate(histories(text)):
        job = uuid7(1_760_000_000_000, number)
        for version, facts in enumerate(history, start=1):
            event = seen(facts, len(found) + 1, job=job, version=version, tenant=TENANT)
            found.append(event._replace(reader=KnownFacts(facts, Cause(text(9_000), text(9_000)))))
    return found


@TEXTS
@pytest.mark.parametrize("projection", ALL_PROJECTIONS, ids=lambda projection: projection.name)
def test_whatever_is_said_is_stored(read_side: ReadSide, projection: Projection, text: Text) -> None:
    """Bounds, lengths and letters at their extremes fold into rows that both engines take, with all their indexes, and
    give back as they were."""
    rows = fold_all(projection, events(text))
    with read_side.own.store.begin((projection,)) as transaction:
        assert transaction is not None
        before = transaction.checkpoint(projection)
        transaction.save(projection, Changes(begun=list(rows.values())), before, before._replace(position=1))
    with read_side.own.store.begin((projection,)) as transaction:
        assert transaction is not None
        assert dict(transaction.load(projection, list(rows))()) == rows
    assert rows
