"""`ledger.limits` and `ledger.queues`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict, Unpack

from jobledger.domain.limit import Rate, Scope

from .client_part import ClientPart
from .limit_messages import (
    GetLimitHistory,
    LimitHistory,
    ListLimits,
    ListQueues,
    PauseTarget,
    QueueOverview,
    RemoveLimits,
    ResumeTarget,
    SetLimits,
    TargetChanged,
)
from .writes import LimitRow


class TargetOptions(TypedDict, total=False):
    """What is meant: a queue alone, a tenant alone, or a persona or key of a tenant (`gateway:*`: each key that
    begins so, separately)."""

    queue: str
    tenant: str
    persona: str
    key: str


class LimitsOf(ClientPart):
    """Limits and pauses of queues, tenants, personas and keys. Each change carries a reason.

    ledger.limits.set(tenant="acme", persona="billing-bot", concurrency=1, reason="it has one mailbox")
    """

    def set(
        self,
        *,
        reason: str,
        concurrency: int | None = None,
        rate: Rate | str | None = None,
        weight: int | None = None,
        **target: Unpack[TargetOptions],
    ) -> TargetChanged:
        """Limit a target; what is not named stays. A rate is a `Rate`, or text such as `100/60s`; `weight` is a
        tenant's share of the turns, 1 to 100."""
        return self._ask(
            SetLimits, **self._meant(target), concurrency=concurrency, weight=weight, reason=reason,
            rate=Rate.parse(rate) if isinstance(rate, str) else rate,
        )  # fmt: skip

    def remove(
        self,
        *,
        reason: str,
        concurrency: bool = False,
        rate: bool = False,
        weight: bool = False,
        **target: Unpack[TargetOptions],
    ) -> TargetChanged:
        """Remove the limits that are named, or all of the target's where none is. A pause stays."""
        return self._ask(
            RemoveLimits, **self._meant(target), concurrency=concurrency, rate=rate, weight=weight, reason=reason
        )

    def pause(self, *, reason: str, **target: Unpack[TargetOptions]) -> TargetChanged:
        """Start nothing of a target until it is resumed: jobs are still taken, and what runs goes on."""
        return self._ask(PauseTarget, **self._meant(target), reason=reason)

    def resume(self, *, reason: str, **target: Unpack[TargetOptions]) -> TargetChanged:
        """Start jobs of a paused target again."""
        return self._ask(ResumeTarget, **self._meant(target), reason=reason)

    def list(self, *, tenant: str | None = None, scope: Scope | str | None = None) -> tuple[LimitRow, ...]:
        """Everything that is limited or paused; with `tenant`, what is that tenant's own."""
        return self._ask(ListLimits, tenant=tenant, scope=scope)

    def history(
        self, *, after_version: int | None = None, limit: int | None = None, **target: Unpack[TargetOptions]
    ) -> LimitHistory:  # fmt: skip
        """Who limited, paused and resumed a target, when and why."""
        return self._ask(GetLimitHistory, **self._meant(target), after_version=after_version, limit=limit)

    def _meant(self, target: TargetOptions) -> Mapping[str, object]:
        """A persona or a key without a tenant is one of the client's own."""
        if "tenant" in target or not ({"persona", "key"} & target.keys()):
            return {**target}
        return {**target, "tenant": self._tenant_or(None)}


class QueuesOf(ClientPart):
    """The queues, as they are now."""

    def list(self) -> tuple[QueueOverview, ...]:
        """Every queue that a job type names, that has open jobs, or that is limited or paused; by name."""
        return self._ask(ListQueues)
