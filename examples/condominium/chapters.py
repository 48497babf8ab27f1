"""The story in chapters: what must be finished before what comes next is asked for.

Jobs do not wait for each other here: a document that is embedded too early is retried. But who asks before everything
is embedded gets a worse answer, and who cancels first takes everything away.
"""

from collections.abc import Iterable
from typing import NamedTuple

from .inbox import Delivery
from .routes import EVENT_PREFIX


class Chapter(NamedTuple):
    """Deliveries that may be worked on together."""

    title: str
    deliveries: tuple[Delivery, ...]


_TITLES = (
    "Five condominiums move in",
    "Daily life: invoices, payments, documents",
    "Residents ask questions",
    "Retention: forget what has expired",
    "One condominium says farewell",
)
_DAILY_LIFE = 1
_CHAPTER_OF = {
    f"{EVENT_PREFIX}tenant.created": 0,
    f"{EVENT_PREFIX}question.asked": 2,
    f"{EVENT_PREFIX}retention.due": 3,
    f"{EVENT_PREFIX}subscription.canceled": 4,
}


def in_chapters(deliveries: Iterable[Delivery]) -> list[Chapter]:
    """All deliveries in their order; one that belongs to an earlier chapter (a late duplicate) stays where it came."""
    chapters: list[list[Delivery]] = [[] for _ in _TITLES]
    now = 0
    for delivery in deliveries:
        if delivery.event is not None:
            now = max(now, _CHAPTER_OF.get(delivery.event.type, _DAILY_LIFE))
        chapters[now].append(delivery)
    return [Chapter(title, tuple(found)) for title, found in zip(_TITLES, chapters, strict=True) if found]
