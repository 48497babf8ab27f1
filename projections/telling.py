"""What the log says of events that a view could not take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog

from jobledger.domain.event import event_id

from .parking import Failure, describe
from .ports import Parked
from .shadow import view_of

log = structlog.get_logger(__name__)


def say_failed(name: str, failures: Sequence[Failure]) -> None:
    """A try failed, and why."""
    event, error = failures[0]
    log.warning(
        "projection.try_failed", projection=name, events=len(failures), error=describe(error), topic=event.topic,
        event_id=event_id(event.originator_id, event.originator_version),
    )  # fmt: skip


def say_parked(parked: Iterable[Parked]) -> None:
    """Loudly what failed, once; what waits behind it is not in error. What a shadow could not take is found under the
    name of its view."""
    for one in parked:
        if one.error is not None:
            log.error(
                "projection.event_parked", projection=one.projection, key=[str(value) for value in one.key],
                event_id=event_id(one.originator_id, one.originator_version), topic=one.topic, tenant=one.tenant,
                error=one.error, hint=f"jobledger projections parked {view_of(one.projection)}",
            )  # fmt: skip
