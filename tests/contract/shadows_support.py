"""Short words for rebuilding by hand: begin, fill, index and follow a shadow, and spoil the live view."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

from jobledger.projections.ports import Changes, Key
from jobledger.projections.projection import Projection, Row
from jobledger.projections.shadow import (
    Comparison,
    Purpose,
    Rebuild,
    RebuildState,
    Scope,
    Slice,
    Step,
    shadow_of,
)
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.support.given import NOW
from tests.support.seen import fold_all

from .support import LedgerUnderTest
from .views_support import Opened, ReadSide, place_of

ROOT = Path(__file__).parents[2]
EVERYTHING = Scope()


def populate(read_side: ReadSide, jobs: int = 24) -> list[UUID]:
    """Jobs of two tenants; every third of the first one is completed. Their ids, in order."""
    found = []
    for number in range(jobs):
        tenant = "beta" if number % 4 == 3 else "acme"
        found.append(read_side.ledger.dispatch(tenant=tenant, persona="bot" if number % 2 else None))
        if number % 3 == 0 and tenant == "acme":
            read_side.ledger.complete(read_side.ledger.claim_one())
    return found


def begin(
    opened: Opened,
    projection: Projection = TENANT_JOBS,
    *,
    scope: Scope = EVERYTHING,
    purpose: Purpose = Purpose.REBUILD,
    slices: int = 4,
) -> Rebuild:
    """A rebuild that has begun: of the whole view in slices, of a scope from position 0 on."""
    position = opened.source.head() if scope.is_whole else 0
    ranges = opened.source.ranges(position, slices) if scope.is_whole else []
    parts = tuple(Slice(number, part) for number, part in enumerate(ranges))
    return opened.shadows.begin(
        Rebuild(
            uuid4(), projection.name, purpose, scope, projection.version, position, "person:ada", "to be sure", NOW,
            slices=parts,
        ),
        projection,
    )  # fmt: skip


def step(opened: Opened, rebuild: Rebuild, part: Slice, projection: Projection = TENANT_JOBS, limit: int = 5) -> Step:
    """What the next batch of a slice adds."""
    rest = part.range._replace(after=part.reached or part.range.after)
    batch = opened.source.read_streams(rest, position=rebuild.position, limit=limit)
    rows = list(fold_all(projection, batch.events).values())
    after = part._replace(
        reached=batch.last, events=part.events + len(batch.events), rows=part.rows + len(rows), done=not batch.more
    )
    return Step(part, after, rows)


def fill(opened: Opened, rebuild: Rebuild, projection: Projection = TENANT_JOBS) -> None:
    """Fill all slices that nobody owns."""
    while True:
        with opened.shadows.own_slice(rebuild) as owned:
            if owned is None:
                return
            part = owned
            while not part.done:
                added = step(opened, rebuild, part, projection)
                opened.shadows.fill(rebuild, projection, added)
                part = added.after


def follow(opened: Opened, projection: Projection = TENANT_JOBS) -> None:
    """Bring a projection to the end of the ledger."""
    opened.run(projection)


def make_shadow(opened: Opened, projection: Projection = TENANT_JOBS, *, scope: Scope = EVERYTHING) -> Rebuild:
    """A rebuild that has caught up and is to be compared."""
    rebuild = begin(opened, projection, scope=scope)
    fill(opened, rebuild, projection)
    opened.shadows.index(rebuild, projection)
    if scope.is_whole:
        follow(opened, shadow_of(projection))
    else:
        _store_scope(opened, projection, scope)
    return opened.shadows.note(opened.shadows.get(rebuild.rebuild_id), RebuildState.COMPARING)


def _store_scope(opened: Opened, projection: Projection, scope: Scope) -> None:
    """The rows of a scope in its shadow, and the shadow where the live view is."""
    events = [
        event
        for event in opened.events()
        if scope.tenant in {None, event.tenant} and scope.job in {None, event.originator_id}
    ]
    position = opened.store.checkpoints()[projection.name].position
    with opened.store.begin((shadow_of(projection),)) as transaction:
        assert transaction is not None
        before = transaction.checkpoint(shadow_of(projection))
        after = before._replace(position=position)
        rows = list(fold_all(projection, events).values())
        transaction.save(shadow_of(projection), Changes(begun=rows), before, after)


def compare(opened: Opened, scope: Scope = EVERYTHING, projection: Projection = TENANT_JOBS) -> Comparison:
    """What live view and shadow come to now."""
    with opened.shadows.snapshot(projection) as snapshot:
        return snapshot.compare(scope)


def swap(opened: Opened, rebuild: Rebuild, projection: Projection = TENANT_JOBS) -> Rebuild:
    """Swap, and end the rebuild."""
    opened.shadows.swap(rebuild, projection)
    return opened.shadows.note(opened.shadows.get(rebuild.rebuild_id), RebuildState.SWAPPED)


def spoil(opened: Opened, *, begun: Sequence[Row] = (), changed: Sequence[Row] = (), ended: Sequence[Key] = ()) -> None:
    """Store something in the live list of jobs that the ledger does not say."""
    with opened.store.begin((TENANT_JOBS,)) as transaction:
        assert transaction is not None
        at = transaction.checkpoint(TENANT_JOBS)
        transaction.save(TENANT_JOBS, Changes(begun, changed, ended), at, at)


def rows_of(opened: Opened, projection: Projection, keys: Sequence[Key]) -> dict[Key, Row]:
    """Stored rows."""
    with opened.store.begin((projection,)) as transaction:
        assert transaction is not None
        return dict(transaction.load(projection, keys)())


def job_row(opened: Opened, job: UUID) -> Row:
    """The live list's row of a job."""
    return rows_of(opened, TENANT_JOBS, [(job,)])[job,]


@contextmanager
def owning_process(ledger: LedgerUnderTest, rebuild: Rebuild) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that owns a slice, and the slice's number."""
    command = [
        sys.executable, "-m", "tests.support.slice_process", ledger.engine, place_of(ledger), str(rebuild.rebuild_id),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
