"""What limits leave room for in a claim: the part of flow control that knows no storage.

Times are microseconds since 1970. A rate's uses are summed in buckets of a hundredth of its window, each under the
moment it ends; a bucket counts until its end has left the window. So a rate may fall short of its count by what one
bucket holds, and is never above it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.limit import FlowState, Limits, Rate, Scope, Target

from .writes import LimitRow

BUCKETS = 100
"""Buckets of a rate's window."""
UNBOUNDED = sys.maxsize
_MICROSECONDS = 1_000_000
_LANE_SEPARATOR = "\x1f"
_PREFIX_MARK = "*"


def lane_of(lock_key: str | None, limit_key: str | None, persona: str | None) -> str | None:
    """The lane that a job waits in: jobs of one are bound by the same things. None: nothing holds the job by itself.

    `persona` is given where it is limited. The separator is doubled where a key holds it: no two bounds share a lane.
    """
    if lock_key is None and limit_key is None and persona is None:
        return None
    bound_by = (("l", lock_key), ("k", limit_key), ("p", persona))
    return _LANE_SEPARATOR.join(
        kind + value.replace(_LANE_SEPARATOR, 2 * _LANE_SEPARATOR) for kind, value in bound_by if value is not None
    )


class Candidate(NamedTuple):
    """A job that may be claimed. It sorts by its place within its tenant: urgency (the priority, negative), then time
    due, then id."""

    urgency: int
    due_at: int
    job_id: bytes
    tenant: str
    queue: str
    persona: str | None = None
    lock_key: str | None = None
    limit_key: str | None = None


class Running(NamedTuple):
    """How many jobs of these are in progress."""

    queue: str
    tenant: str
    persona: str | None
    limit_key: str | None
    jobs: int


class Use(NamedTuple):
    """Starts that a rate granted in one of its buckets."""

    ends_at: int
    tokens: int


class Rules:
    """The limits in force."""

    def __init__(self, rows: Iterable[LimitRow] = ()) -> None:
        states = {row.target: row.state for row in rows}
        self._binding = {target: state for target, state in states.items() if _binds(state)}
        self._weights = {
            target.tenant: state.limits.weight for target, state in states.items() if target.scope is Scope.TENANT
        }
        self._personas: dict[str, list[str]] = {}
        self._prefixes: dict[str, list[Target]] = {}
        for target in self._binding:
            if target.scope is Scope.PERSONA:
                self._personas.setdefault(target.tenant, []).append(target.subject)
            elif target.scope is Scope.KEY and target.subject.endswith(_PREFIX_MARK):
                self._prefixes.setdefault(target.tenant, []).append(target)
        for prefixes in self._prefixes.values():
            prefixes.sort(key=lambda target: -len(target.subject))

    def __bool__(self) -> bool:
        """Whether anything is limited or paused."""
        return bool(self._binding)

    def state_of(self, target: Target) -> FlowState | None:
        """What binds a target: for a key its own limits, else those of its longest prefix."""
        named = self.named(target)
        return None if named is None else self._binding[named]

    def named(self, target: Target) -> Target | None:
        """What somebody limited or paused that binds a target: itself or, for a key, its longest prefix."""
        if target in self._binding:
            return target
        if target.scope is Scope.KEY:
            for prefix in self._prefixes.get(target.tenant, ()):
                if target.subject.startswith(prefix.subject.removesuffix(_PREFIX_MARK)):
                    return prefix
        return None

    def weight(self, tenant: str) -> int:
        """The tenant's share of the turns."""
        return self._weights.get(tenant, 1)

    def personas(self, tenant: str) -> Sequence[str]:
        """The personas of a tenant that are limited or paused."""
        return self._personas.get(tenant, ())


NO_RULES = Rules()


class Allowance:
    """What limits still allow in one claim. Every job that is taken uses some of it up."""

    def __init__(
        self,
        rules: Rules,
        *,
        now: int,
        at_once: int | None,
        running: Callable[[], Iterable[Running]],
        uses: Callable[[Target, int], Iterable[Use]],
    ) -> None:
        """`at_once`: see `ClaimRequest`. `running` is asked at most once, for all jobs in progress; `uses` once for
        each rate, for the buckets that end after a moment."""
        self._rules = rules
        self._now = now
        self._at_once = UNBOUNDED if at_once is None else at_once
        self._read_running = running
        self._read_uses = uses
        self._running: Counter[Target] | None = None
        self._bounds: dict[Target, _Bound | None] = {}
        self._bounds_of: dict[tuple[str, str | None, str | None, str | None], tuple[_Bound, ...]] = {}
        self._locked: set[tuple[str, str]] = set()
        self._taken = 0

    @property
    def limited(self) -> bool:
        """Whether a limit or a pause had a say."""
        return any(self._bounds.values())

    @property
    def again_seconds(self) -> float | None:
        """When the first rate that held jobs back frees a token; None: no rate did."""
        moments = [bound.free_at() for bound in self._bounds.values() if bound is not None and bound.lacks_tokens]
        return max(0, min(moments) - self._now) / _MICROSECONDS if moments else None

    def weight(self, tenant: str) -> int:
        """The tenant's share of the turns."""
        return self._rules.weight(tenant)

    def personas(self, tenant: str) -> Sequence[str]:
        """The personas of a tenant that are limited or paused."""
        return self._rules.personas(tenant)

    def room(
        self, queue: str, tenant: str | None = None, persona: str | None = None, limit_key: str | None = None
    ) -> int:
        """How many more jobs may be taken that have all of this."""
        if not self._rules:
            return UNBOUNDED
        room = UNBOUNDED
        for bound in self._those_of(queue, tenant, persona, limit_key):
            room = min(room, bound.room())
            if bound.rate is not None:
                # whatever is taken after the first `at_once` jobs waits in the worker: the rate would not hold for it
                room = min(room, self._at_once - self._taken)
        return room

    def take(self, job: Candidate) -> bool:
        """Take the job, unless something that binds it has no room left."""
        if job.lock_key is not None and (job.tenant, job.lock_key) in self._locked:
            return False
        if self._rules:
            if self.room(job.queue, job.tenant, job.persona, job.limit_key) <= 0:
                return False
            for bound in self._those_of(job.queue, job.tenant, job.persona, job.limit_key):
                bound.taken += 1
        if job.lock_key is not None:
            self._locked.add((job.tenant, job.lock_key))
        self._taken += 1
        return True

    def used(self) -> list[tuple[Target, Use]]:
        """What was used of rates: the current bucket of each, with what this claim adds to it."""
        return [
            (bound.target, Use(bound.bucket_ends_at(), bound.taken))
            for bound in self._bounds.values()
            if bound is not None and bound.rate is not None and bound.taken
        ]

    def _those_of(
        self, queue: str, tenant: str | None, persona: str | None, limit_key: str | None
    ) -> tuple[_Bound, ...]:
        those = (queue, tenant, persona, limit_key)
        bounds = self._bounds_of.get(those)
        if bounds is None:
            found = (self._bound(target) for target in targets_of(*those))
            bounds = self._bounds_of[those] = tuple(bound for bound in found if bound is not None)
        return bounds

    def _bound(self, target: Target) -> _Bound | None:
        if target not in self._bounds:
            state = self._rules.state_of(target)
            self._bounds[target] = None if state is None else self._bound_by(target, state)
        return self._bounds[target]

    def _bound_by(self, target: Target, state: FlowState) -> _Bound:
        running, uses, limits = 0, tuple[Use, ...](), state.limits
        if limits.concurrency is not None:
            running = self._running_of(target)
        if limits.rate is not None:
            uses = tuple(self._read_uses(target, self._now - _microseconds(limits.rate.seconds)))
        return _Bound(target, state, running, uses, self._now)

    def _running_of(self, target: Target) -> int:
        if self._running is None:
            self._running = Counter()
            for queue, tenant, persona, limit_key, jobs in self._read_running():
                for bound in targets_of(queue, tenant, persona, limit_key):
                    self._running[bound] += jobs
        return self._running[target]


class _Bound:
    """What one target still allows. Truthy, whatever is left."""

    def __init__(self, target: Target, state: FlowState, running: int, uses: tuple[Use, ...], now: int) -> None:
        limits = state.limits
        self.target = target
        self.rate = limits.rate
        self.taken = 0
        self.lacks_tokens = False
        self._uses = uses
        self._now = now
        self._left = _left(limits, state.paused, running)
        self._tokens = UNBOUNDED if limits.rate is None else limits.rate.count - sum(use.tokens for use in uses)

    def room(self) -> int:
        """How many more jobs it allows."""
        tokens = self._tokens - self.taken
        if tokens <= 0 < self._left - self.taken:
            self.lacks_tokens = True
        return max(0, min(self._left - self.taken, tokens))

    def bucket_ends_at(self) -> int:
        """The end of the bucket that starts of now count in."""
        assert self.rate is not None
        return bucket_end(self.rate, self._now)

    def free_at(self) -> int:
        """When enough buckets have left the window for the next start."""
        assert self.rate is not None
        lacking = self.taken - self._tokens + 1
        for ends_at, tokens in sorted((*self._uses, Use(self.bucket_ends_at(), self.taken))):
            lacking -= tokens
            if lacking <= 0:
                return ends_at + _microseconds(self.rate.seconds)
        return self._now


def targets_of(queue: str, tenant: str | None, persona: str | None, limit_key: str | None) -> Iterator[Target]:
    """What a job may be bound by: its queue and, where they are given, its tenant, persona and key."""
    yield Target(Scope.QUEUE, SYSTEM_TENANT, queue)
    if tenant is not None:
        yield Target(Scope.TENANT, tenant, tenant)
        if persona is not None:
            yield Target(Scope.PERSONA, tenant, persona)
        if limit_key is not None:
            yield Target(Scope.KEY, tenant, limit_key)


def covers(limited: Target, target: Target) -> bool:
    """Whether limits of the first may be in force for the second: the same, or a key that begins with a prefix."""
    if limited == target:
        return True
    if not limited.scope == target.scope == Scope.KEY or limited.tenant != target.tenant:
        return False
    return limited.subject.endswith(_PREFIX_MARK) and target.subject.startswith(limited.subject[:-1])


def bucket_end(rate: Rate, now: int) -> int:
    """The end of the bucket of a rate that `now` lies in."""
    width = max(1, _microseconds(rate.seconds) // BUCKETS)
    return (now // width + 1) * width


def _binds(state: FlowState) -> bool:
    return state.paused or state.limits.concurrency is not None or state.limits.rate is not None


def _left(limits: Limits, paused: bool, running: int) -> int:
    if paused:
        return 0
    return UNBOUNDED if limits.concurrency is None else limits.concurrency - running


def _microseconds(seconds: float) -> int:
    return round(seconds * _MICROSECONDS)
