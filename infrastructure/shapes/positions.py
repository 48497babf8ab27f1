"""Positions as whoever asks over the network gets them: `incarnation.position`, which `after` takes."""

from __future__ import annotations

from collections.abc import Callable

from .jobs import Shape

_NAMES = ("position", "head", "first_position", "last_position")
_WITHIN = ("freshness", "ended")
_LISTS = ("events", "views")


def positioned(shape: Shape, text: Callable[[int], str | None]) -> Shape:
    """The same, its own positions as texts, and those of what stands in it."""
    for name in _NAMES:
        if isinstance(number := shape.get(name), int):
            shape[name] = text(number)
    parts = [shape.get(name) for name in _WITHIN]
    for name in _LISTS:
        if isinstance(found := shape.get(name), list):
            parts += found
    for part in parts:
        if isinstance(part, dict):
            positioned(part, text)
    return shape
