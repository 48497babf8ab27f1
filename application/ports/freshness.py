"""How current a read model is."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

HELD_SECONDS_MIN = 1.0
"""For how long nothing newer can be read before anybody is told: transactions take their time."""


class HorizonHold(NamedTuple):
    """An open transaction that wrote to the ledger: nothing recorded after it began can be read before it ends.

    `since` is when it began or, where this login may not see that, when the oldest event that waits was recorded;
    `seconds` is how long ago that is, by the database's clock. What this login may not see of it is None.
    """

    since: datetime
    seconds: float
    pid: int | None
    application: str | None
    login: str | None
    state: str | None
    waiting_since: datetime | None
    """When the oldest event that waits was recorded; None: none does, all that is committed can be read."""


class Freshness(NamedTuple):
    """How current a list is: the position its projection reached, and the ledger's head at that moment.

    `parked`: events (a thousand at most are counted) that the projection could not take: the list may lack what they
    say. `hold`: why nothing newer can be read just now.
    """

    position: int
    head: int
    recorded_at: datetime | None
    projection: str = ""
    parked: int = 0
    hold: HorizonHold | None = None
