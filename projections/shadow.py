"""What rebuilding a view needs of its storage: a shadow beside the live table, which takes its place at once.

The three versions of a view are tables of one shape: the live one (`tenant_jobs`), the shadow that is being filled
(`tenant_jobs__new`), and the one that was replaced last (`tenant_jobs__previous`). A shadow is a projection like any
other to a runner: it has rows, a checkpoint and parked events under its own name.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol
from uuid import UUID

from .ports import Checkpoint, Parked, StreamRange
from .projection import Projection, Row

SAMPLE_SIZE = 20
"""Differing rows that a comparison names."""
_SHADOW_ENDING = "__new"
"""No view's name ends so."""


def shadow_of(projection: Projection) -> Projection:
    """The projection that fills the shadow."""
    return projection._replace(name=f"{projection.name}{_SHADOW_ENDING}")


def view_of(name: str) -> str:
    """The name of the view to which rows, or parked events, of a projection belong: its own, or that which it is the
    shadow of."""
    return name.removesuffix(_SHADOW_ENDING)


class Scope(NamedTuple):
    """Whose rows are rebuilt: everybody's, one tenant's, or one job's (of that tenant)."""

    tenant: str | None = None
    job: UUID | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the whole view is meant: only then does the shadow take the live table's place."""
        return self.tenant is None and self.job is None


class Purpose(StrEnum):
    """What a fresh fold is made for."""

    REBUILD = "rebuild"
    DRY_RUN = "dry_run"
    VERIFY = "verify"


class RebuildState(StrEnum):
    """How far a rebuild has come. The last four end it."""

    FILLING = "filling"
    INDEXING = "indexing"
    CATCHING_UP = "catching_up"
    COMPARING = "comparing"
    SWAPPED = "swapped"
    COMPARED = "compared"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Slice(NamedTuple):
    """A part of the work that one worker does at a time: a range of streams. `reached` is the last stream whose rows
    are stored."""

    number: int
    range: StreamRange
    reached: UUID | None = None
    events: int = 0
    rows: int = 0
    done: bool = False


class Step(NamedTuple):
    """What one batch adds to a shadow: fresh rows, events that could not be folded, and how far the slice then is."""

    before: Slice
    after: Slice
    rows: Sequence[Row]
    parked: Sequence[Parked] = ()


class Rebuild(NamedTuple):
    """A rebuild as it is stored. `position`: the shadow is filled with all events up to it; what came later is caught
    up with as runners do. `begun_version` is that of the event in the projection's stream, 0 for a verification."""

    rebuild_id: UUID
    projection: str
    purpose: Purpose
    scope: Scope
    fold_version: int
    position: int
    actor: str
    reason: str
    begun_at: datetime
    state: RebuildState = RebuildState.FILLING
    begun_version: int = 0
    slices: tuple[Slice, ...] = ()
    ended_at: datetime | None = None
    error: str | None = None
    comparison: Comparison | None = None
    """What the compare came to, once it was made: a process that goes on behind it records these very numbers. Stored
    as JSON, the sample without its rows' values (it is shown by whoever compared)."""

    @property
    def is_over(self) -> bool:
        """Whether nothing will be done for it any more."""
        return self.ended_at is not None

    @property
    def events(self) -> int:
        """Events that the slices have folded."""
        return sum(part.events for part in self.slices)

    @property
    def rows(self) -> int:
        """Rows that the slices have stored."""
        return sum(part.rows for part in self.slices)


class Difference(NamedTuple):
    """A row that the live view and a fresh fold do not agree on. None: there is no such row."""

    key: tuple[object, ...]
    live: Row | None
    fresh: Row | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that differ; all of them where one side has no row."""
        if self.live is None or self.fresh is None:
            return tuple(self.live or self.fresh or ())
        return tuple(name for name in self.fresh if self.live.get(name) != self.fresh[name])


class Comparison(NamedTuple):
    """The live view beside a fresh fold at one position. Digests are SHA-256 over all rows in the order of the key."""

    position: int
    rows_live: int
    rows_fresh: int
    differing: int
    digest_live: str
    digest_fresh: str
    sample: tuple[Difference, ...] = ()
    """The first `SAMPLE_SIZE` differing rows in the order of their key."""

    @property
    def is_equal(self) -> bool:
        """Whether the view is what the ledger says."""
        return self.differing == 0


class Kept(NamedTuple):
    """A table that exists beside the live one. How many `rows` it holds is None where nobody has counted or estimated
    them yet, and a guess where it is not `exact`."""

    rows: int | None
    exact: bool


class Versions(NamedTuple):
    """The tables of a view that exist beside the live one."""

    projection: str
    fold_version: int
    shadow: Kept | None
    previous: Kept | None


class Snapshot(Protocol):
    """Live view and shadow as they were at one position, while both go on."""

    def compare(self, scope: Scope) -> Comparison:
        """Compare all rows of the scope."""
        ...


class Shadows(Protocol):
    """The storage of rebuilds. Raises `LedgerUnavailable` or `LedgerBusy` where trying again is all one can do, and
    `CheckpointMoved` where somebody else did the same work meanwhile: then nothing was stored."""

    def begin(self, rebuild: Rebuild, projection: Projection) -> Rebuild:
        """Store the rebuild and make an empty shadow without indexes, in one transaction; returns it as stored.
        `RebuildUnderWay` where another of this projection is not over."""
        ...

    def unfinished(self, projection: str) -> Rebuild | None:
        """The rebuild of this projection that is not over."""
        ...

    def get(self, rebuild_id: UUID) -> Rebuild:
        """A rebuild, as it stands; `NotFound` for none."""
        ...

    def recent(self, *, limit: int) -> list[Rebuild]:
        """The rebuilds that began last, without their slices."""
        ...

    def own_slice(self, rebuild: Rebuild) -> AbstractContextManager[Slice | None]:
        """Own a slice that is not done and that nobody owns, until the block ends or the process dies; None: there is
        no such slice just now."""
        ...

    def fill(self, rebuild: Rebuild, projection: Projection, step: Step) -> None:
        """Store fresh rows and the slice's progress in one transaction. `CheckpointMoved` unless the slice stands at
        `step.before`, or the rebuild is not filling any more."""
        ...

    def index(self, rebuild: Rebuild, projection: Projection, *, at_once: int = 1) -> None:
        """Give the shadow key, indexes (so many at once where the engine can), row-level security and rights, and its
        checkpoint at the rebuild's position. The state is then `CATCHING_UP`. Harmless when done before."""
        ...

    def note(
        self,
        rebuild: Rebuild,
        state: RebuildState,
        *,
        begun_version: int | None = None,
        error: str | None = None,
        comparison: Comparison | None = None,
    ) -> Rebuild:
        """Store how far the rebuild is (what is None stays as it is); returns it as stored. `CheckpointMoved` unless
        it is in the state that `rebuild` says and is not over. An ending state ends it, and drops the shadow (rows,
        checkpoint, parked events) unless it is `SWAPPED`."""
        ...

    def hold(self, projection: Projection) -> AbstractContextManager[Checkpoint | None]:
        """Keep the live view still at its checkpoint for the block: short, because it does not follow the ledger
        meanwhile. None where its runner could not be stopped in time: try again."""
        ...

    def snapshot(self, projection: Projection) -> AbstractContextManager[Snapshot]:
        """See live view and shadow as they are now. `CheckpointMoved` unless both stand at one position."""
        ...

    def swap(self, rebuild: Rebuild, projection: Projection) -> None:
        """In one transaction: shadow becomes live, live becomes previous (the one before is dropped), parked events and
        fold version follow. The rebuild is in the state `SWAPPED`, but not over (`ended_at` stays None): whoever has
        recorded it ends it with `note`. With a scope only its rows are replaced. `LedgerBusy` where readers or writers
        did not let it in within 50 ms; `CheckpointMoved` unless both stand at one position and the rebuild is in the
        state `COMPARING`."""
        ...

    def previous_rows(self, name: str) -> int | None:
        """How many rows the version of this view has that was replaced last, counted; None where there is none. The
        view need not be one that this program knows."""
        ...

    def drop_previous(self, name: str) -> int | None:
        """Remove the version that was replaced last; how many rows it had, None where there is none."""
        ...

    def versions(self) -> list[Versions]:
        """What exists of each view."""
        ...
