"""The stable shapes of what is said of views: how they stand, and what came of rebuilding and comparing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jobledger.projections.projection import Projection
from jobledger.projections.rebuild import End, Outcome
from jobledger.projections.shadow import Comparison, Difference, Kept, Rebuild

from ..view_standing import Overview, View
from .texts import iso


class Answer(NamedTuple):
    """What is told of a rebuild that is over. `other_fold` is the version of the fold that wrote the live rows, where
    it was another; not `fresh`: it went on with one that began before."""

    outcome: Outcome
    end: End
    other_fold: int | None
    fresh: bool


# --- how they stand -------------------------------------------------------------------------------------------------


def overview(seen: Overview) -> dict[str, object]:
    """The answer of `projections status`. `lag_events` is counted up to 10,000. Numbers of rows are estimates on
    PostgreSQL, null where there is none yet."""
    return {
        "head": seen.head, "horizon_age_seconds": seen.horizon_age_seconds,
        "views": [_view_shape(view) for view in seen.views],
        "others": [{"projection": rebuild.projection, **_rebuild_shape(rebuild, 0.0)} for rebuild in seen.others],
    }  # fmt: skip


def _view_shape(view: View) -> dict[str, object]:
    stored, versions = view.stored, view.versions
    return {
        "projection": view.projection.name, "position": stored.position if stored else 0,
        "recorded_at": iso(stored.recorded_at) if stored else None,
        "lag_events": view.lag.events if view.lag else None, "lag_seconds": view.lag.seconds if view.lag else None,
        "owner": (stored.owner if stored else "") or None, "moved_at": iso(stored.moved_at) if stored else None,
        "fold_version": stored.version if stored else None, "fold_version_of_program": view.projection.version,
        "parked": view.parked[0], "waiting_behind_parked": view.parked[1], "skipped": view.skipped,
        "previous_kept": versions is not None and versions.previous is not None,
        "previous_rows": _rows(versions.previous if versions else None),
        "shadow_rows": _rows(versions.shadow if versions else None),
        "rebuild": None if view.rebuild is None else _rebuild_shape(view.rebuild, view.fraction),
    }  # fmt: skip


def _rows(kept: Kept | None) -> int | None:
    return None if kept is None else kept.rows


def _rebuild_shape(rebuild: Rebuild, fraction: float) -> dict[str, object]:
    return {
        "rebuild_id": str(rebuild.rebuild_id), "purpose": rebuild.purpose.value, "state": rebuild.state.value,
        "fraction": round(fraction, 4), "events": rebuild.events, "rows": rebuild.rows,
        "tenant": rebuild.scope.tenant, "job_id": None if rebuild.scope.job is None else str(rebuild.scope.job),
        "actor": rebuild.actor, "reason": rebuild.reason, "begun_at": iso(rebuild.begun_at),
    }  # fmt: skip


# --- what came of it ------------------------------------------------------------------------------------------------


def rebuilt(projection: Projection, answer: Answer) -> dict[str, object]:
    """The answer of `projections rebuild` and `projections verify`; `differences` are the first of `differing`."""
    rebuild, end = answer.outcome.rebuild, answer.end
    return {
        "projection": projection.name, "rebuild_id": str(rebuild.rebuild_id), "purpose": rebuild.purpose.value,
        "tenant": rebuild.scope.tenant, "job_id": None if rebuild.scope.job is None else str(rebuild.scope.job),
        "swapped": end.swapped, "resumed": not answer.fresh, "actor": rebuild.actor, "reason": rebuild.reason,
        "begun_at": iso(rebuild.begun_at), "seconds": round(end.seconds, 3), "events": end.events,
        "parked": end.parked, "fold_version": rebuild.fold_version, "fold_version_before": answer.other_fold
        or rebuild.fold_version, **comparison(keys_of(projection), end.comparison),
    }  # fmt: skip


def comparison(keys: Sequence[str], compared: Comparison) -> dict[str, object]:
    """A comparison; rows and digests before are those of the live view."""
    return {
        "position": compared.position, "rows_before": compared.rows_live, "rows_after": compared.rows_fresh,
        "differing": compared.differing, "digest_before": compared.digest_live, "digest_after": compared.digest_fresh,
        "differences": [_difference(keys, one) for one in compared.sample],
    }  # fmt: skip


def _difference(keys: Sequence[str], one: Difference) -> dict[str, object]:
    return {
        "key": dict(zip(keys, one.key, strict=True)), "columns": list(one.columns), "live": one.live,
        "fresh": one.fresh,
    }  # fmt: skip


def keys_of(projection: Projection) -> tuple[str, ...]:
    """The names of its key columns."""
    return tuple(column.name for column in projection.key_columns)
