"""The indexes of a shadow on PostgreSQL, also where whoever made them was killed in between."""

from __future__ import annotations

import psycopg
import pytest

from jobledger.domain.errors import LedgerBusy
from jobledger.infrastructure.postgres.view_tables import indexes
from jobledger.projections.projection import Projection
from jobledger.projections.shadow import RebuildState, shadow_of
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.contract.shadows_support import begin, compare, fill, follow
from tests.contract.views_support import ReadSide, place_of

SHADOW = shadow_of(TENANT_JOBS)


def _indexes(read_side: ReadSide, projection: Projection) -> set[str]:
    with psycopg.connect(place_of(read_side.ledger)) as connection:
        rows = connection.execute("SELECT indexname FROM pg_indexes WHERE tablename = %s", (projection.name,))
        return {name for (name,) in rows}


@pytest.mark.parametrize("at_once", [1, 2, 9])
def test_however_many_are_made_at_once_all_are_there(read_side: ReadSide, at_once: int) -> None:
    """The shadow has the indexes of its definition, its key among them, and goes on from there."""
    rebuild = begin(read_side.own)
    fill(read_side.own, rebuild)
    read_side.own.shadows.index(rebuild, TENANT_JOBS, at_once=at_once)
    assert _indexes(read_side, SHADOW) == set(indexes(SHADOW))
    assert read_side.own.shadows.get(rebuild.rebuild_id).state is RebuildState.CATCHING_UP
    follow(read_side.own, SHADOW)
    assert compare(read_side.own).is_equal


def test_an_index_that_a_killed_process_left_is_kept_and_one_in_the_making_is_waited_for(read_side: ReadSide) -> None:
    """The server goes on with the statement of a process that is gone: until it is done the ledger is busy, then the
    rest is made."""
    rebuild = begin(read_side.own)
    fill(read_side.own, rebuild)
    (left_over, first), (in_the_making, second), *_ = indexes(SHADOW).items()
    with psycopg.connect(place_of(read_side.ledger)) as killed:
        killed.execute("SET search_path = jobledger; SET ROLE jobledger_owner")
        killed.execute(first)
        killed.commit()
        made = _oid(killed, left_over)
        killed.execute(second)
        with pytest.raises(LedgerBusy):
            read_side.own.shadows.index(rebuild, TENANT_JOBS, at_once=2)
        assert read_side.own.shadows.get(rebuild.rebuild_id).state is RebuildState.FILLING
        killed.commit()
        read_side.own.shadows.index(rebuild, TENANT_JOBS, at_once=2)
        assert _oid(killed, left_over) == made
    assert {left_over, in_the_making} < _indexes(read_side, SHADOW) == set(indexes(SHADOW))


def _oid(connection: psycopg.Connection, index: str) -> int:
    row = connection.execute("SELECT %s::regclass::oid", (index,)).fetchone()
    assert row is not None
    return int(row[0])
