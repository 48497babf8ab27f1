"""What a job type says about errors that its handler lets pass: which are final, which wait for how long."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from jobledger.domain.errors import InvalidInput
from jobledger.domain.retry import DAY_SECONDS

RETRY_AFTER_SECONDS_MAX = 400 * DAY_SECONDS


@dataclass(frozen=True, slots=True)
class ErrorPolicy:
    """Of an error's class and its bases the nearest one decides, as `except` clauses in the right order would.

    What a handler says itself by raising `NeverRetry` or `RetryAfter` stands above this.
    """

    never_retry: frozenset[type[BaseException]] = frozenset()
    retry_after_seconds: Mapping[type[BaseException], float] = field(default_factory=dict)

    def is_final(self, error: BaseException) -> bool:
        """Whether no further attempt can help."""
        return bool(self.never_retry) and self._nearest(error) in self.never_retry

    def delay_seconds(self, error: BaseException) -> float | None:
        """How long the next attempt waits; None leaves it to the retry policy."""
        nearest = self._nearest(error) if self.retry_after_seconds else None
        return None if nearest is None else self.retry_after_seconds.get(nearest)

    def _nearest(self, error: BaseException) -> type[BaseException] | None:
        named = self.never_retry | self.retry_after_seconds.keys()
        return next((each for each in type(error).__mro__ if each in named), None)


NO_POLICY = ErrorPolicy()


def error_policy(
    never_retry: Sequence[type[BaseException]], retry_after: Mapping[type[BaseException], float] | None
) -> ErrorPolicy:
    """The policy that a declaration asks for. Raises `InvalidInput` where it makes no sense."""
    after = dict(retry_after or {})
    for name, classes in (("never_retry", never_retry), ("retry_after", after)):
        for each in classes:
            if not _is_exception(each):
                raise InvalidInput(f"{each!r} is no class of exceptions", field=name, rule="classes of exceptions")
    for each, seconds in after.items():
        if not 0 <= seconds <= RETRY_AFTER_SECONDS_MAX:
            raise InvalidInput(
                f"{seconds!r} seconds after a {each.__name__}", field="retry_after",
                rule=f"0 to {RETRY_AFTER_SECONDS_MAX:g} seconds",
            )  # fmt: skip
        if each in never_retry:
            raise InvalidInput(f"{each.__name__} is in both", field="never_retry", rule="not in retry_after, too")
    if not never_retry and not after:
        return NO_POLICY
    return ErrorPolicy(frozenset(never_retry), MappingProxyType(after))


def _is_exception(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, BaseException)
