"""Lists that come in pages, as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from .exchange import Emit, Emits, Flow

P = TypeVar("P")
T = TypeVar("T")
C = TypeVar("C")


def paged(
    page: Callable[[C | None], Flow[P]],
    *,
    items: Callable[[P], Iterable[T]],
    following: Callable[[P], C | None],
    limit: int | None = None,
) -> Emits[T]:
    """The items of all pages, at most `limit`; a page is asked for when it is needed."""
    cursor: C | None = None
    left = limit
    while left is None or left > 0:
        found = yield from page(cursor)
        for item in items(found):
            yield Emit(item)
            if left is not None:
                left -= 1
                if left == 0:
                    return
        cursor = following(found)
        if cursor is None:
            return
