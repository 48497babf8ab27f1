"""A command that was begun and waits for the ledger: for callers who have other things to do meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from .result import Accepted
from .writes import Outcome

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Pending(Generic[R]):
    """What was handed to the ledger, and what its outcomes mean: the answer, or something more to wait for.

    `settle` raises a `Refusal` where the answer is no."""

    written: Future[list[Outcome]]
    settle: Callable[[list[Outcome]], Accepted[R] | Pending[R]]
