"""Limits and pauses: set, remove, pause, resume, list, and what became of a target."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce

from jobledger.domain import limit as decisions
from jobledger.domain.errors import (
    InvalidInput,
    LedgerBusy,
    LedgerError,
    NotPermitted,
    ProtectedTenant,
    VersionConflict,
)
from jobledger.domain.event import Event, Facts, RecordedEvent
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.identity import Permission
from jobledger.domain.job import JobStatus
from jobledger.domain.limit import NO_LIMITS, FlowState, Imposed, Limits, Scope, Target, evolve, imposed, queue_target
from jobledger.domain.options import DEFAULT_QUEUE

from .dispatcher import Dispatcher
from .flow import Flow
from .flow_control import covers
from .known import KnownTenants
from .limit_messages import (
    INSTALLATION,
    ChangesTarget,
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
    Targeted,
)
from .logs import logger
from .ports import Catalogue, EventReader, JobFilter, JobViews, LedgerWriter, Queue
from .positions import Positions
from .result import Accepted
from .writes import AppendEvents, LimitRow, WriteStatus

OWN_MAX = 1_000
"""Personas and keys that a tenant's own operators limit or pause: every claim, of all tenants, looks at all limits."""
TRIES = 8
"""How often a decision is taken anew when the target changes between reading and saving."""

Decide = Callable[[FlowState, Sequence[Facts]], tuple[Facts, ...]]


class Limiting:
    """The handlers of the commands and queries about limits, pauses and queues."""

    def __init__(
        self,
        *,
        reader: EventReader,
        writer: LedgerWriter,
        catalogue: Catalogue,
        queue: Queue,
        views: JobViews,
        tenants: KnownTenants,
        positions: Positions,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._catalogue = catalogue
        self._queue = queue
        self._views = views
        self._tenants = tenants
        self._positions = positions

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the messages of this module."""
        dispatcher.register(SetLimits, self.set_limits)
        dispatcher.register(RemoveLimits, self.remove)
        dispatcher.register(PauseTarget, self.pause)
        dispatcher.register(ResumeTarget, self.resume)
        dispatcher.register(ListLimits, self.list_all)
        dispatcher.register(GetLimitHistory, self.history)
        dispatcher.register(ListQueues, self.queues)

    # --- commands ----------------------------------------------------------------------------------------------------

    def set_limits(self, command: SetLimits, flow: Flow) -> Accepted[TargetChanged]:
        """Change the limits that are named; the others stay."""
        said = {name: getattr(command, name) for name in Limits.model_fields}
        wanted = {name: value for name, value in said.items() if value is not None}
        if not wanted:
            raise InvalidInput(
                "limited to what?", field="limits", rule="at least one of concurrency, rate and weight",
                hint="jobledger limits remove takes limits away",
            )  # fmt: skip
        return self._decide(command, flow, lambda target, state: decisions.limit(
            state, target, state.limits.model_copy(update=wanted), reason=command.reason, by_tenant=command.by_tenant
        ))  # fmt: skip

    def remove(self, command: RemoveLimits, flow: Flow) -> Accepted[TargetChanged]:
        """Remove the limits that are named, or all."""
        named = [name for name in Limits.model_fields if getattr(command, name)] or list(Limits.model_fields)
        without = {name: getattr(NO_LIMITS, name) for name in named}
        return self._decide(command, flow, lambda target, state: decisions.limit(
            state, target, state.limits.model_copy(update=without), reason=command.reason, by_tenant=command.by_tenant
        ))  # fmt: skip

    def pause(self, command: PauseTarget, flow: Flow) -> Accepted[TargetChanged]:
        """Start nothing of a target any more."""
        return self._decide(command, flow, lambda target, state: decisions.pause(
            state, target, reason=command.reason, by_tenant=command.by_tenant
        ))  # fmt: skip

    def resume(self, command: ResumeTarget, flow: Flow) -> Accepted[TargetChanged]:
        """Start jobs of a target again."""
        return self._decide(command, flow, lambda target, state: decisions.resume(
            state, target, reason=command.reason, by_tenant=command.by_tenant
        ))  # fmt: skip

    def _decide(
        self, command: ChangesTarget, flow: Flow, decide: Callable[[Target, FlowState], tuple[Facts, ...]]
    ) -> Accepted[TargetChanged]:
        target = self._known_target(command)

        def decided(state: FlowState, history: Sequence[Facts]) -> tuple[Facts, ...]:
            facts = decide(target, state)
            if command.by_tenant and facts:
                self._require_own(target, facts, imposed(history), flow)
            return facts

        changed, position = self._change(target, flow, decided)
        if changed.changed and target.scope is Scope.PERSONA:
            self._apply_limits()
        remark = None if changed.state == FlowState() else self._remark(target)
        return Accepted(changed._replace(remark=remark), self._positions.text(position))

    def _change(self, target: Target, flow: Flow, decide: Decide) -> tuple[TargetChanged, int | None]:
        """Decide and save, anew where somebody else changed the target meanwhile."""
        busy = False
        for _ in range(TRIES):
            stored = self._reader.stream(target.tenant, target.stream)
            history = [event.facts for event in stored]
            before = reduce(evolve, history, FlowState())
            decided = decide(before, history)
            if not decided:
                return TargetChanged(target, before, changed=False), None
            after = reduce(evolve, decided, before)
            outcome = self._writer.write([AppendEvents(
                tuple(
                    Event(target.stream, version, target.tenant, flow.metadata(), facts)
                    for version, facts in enumerate(decided, start=len(stored) + 1)
                ),
                LimitRow(target, after),
            )])[0]  # fmt: skip
            if outcome.status is WriteStatus.WRITTEN:
                return TargetChanged(target, after), outcome.position
            busy = outcome.status is WriteStatus.BUSY
        what = f"{target.scope} {target.subject!r}"
        if busy:
            raise LedgerBusy(f"{what} is held by another transaction", hint="try again")
        raise VersionConflict(f"{what} kept changing", field=target.scope, rule="holds still", hint="try again")

    def _known_target(self, command: Targeted) -> Target:
        target = command.target
        if target.scope is not Scope.QUEUE:
            if target.tenant == SYSTEM_TENANT:
                raise ProtectedTenant(
                    f"{SYSTEM_TENANT!r} is the installation's own tenant", field="tenant", rule="is a customer's"
                )
            self._tenants.require_known(target.tenant)
        return target

    def _require_own(self, target: Target, facts: Iterable[Facts], of_installation: Imposed, flow: Flow) -> None:
        """Raise `NotPermitted` where this would undo what the installation did to the target or, of a key, to all keys
        with a beginning of it: limits of its own would stand in their place."""
        limits = [each.limits for each in facts if isinstance(each, decisions.Limited)]
        undoes = of_installation.limits if limits else of_installation.paused
        hides = any(not each.is_default for each in limits) and any(map(self._is_imposed, self._prefixes_of(target)))
        if undoes or hides:
            raise NotPermitted(flow.actor, Permission.FLOW, "to what the installation itself limited or paused")
        own = [row.target for row in self._catalogue.limits() if row.target.tenant == target.tenant]
        if target not in own and len(own) >= OWN_MAX:
            raise InvalidInput(
                f"{len(own):,} personas and keys of {target.tenant} are limited or paused", field=target.scope,
                rule=f"at most {OWN_MAX:,}", hint="remove what is not needed, or limit keys by a beginning: gateway:*",
            )  # fmt: skip

    def _prefixes_of(self, target: Target) -> list[Target]:
        limited = (row.target for row in self._catalogue.limits())
        return [other for other in limited if other != target and covers(other, target)]

    def _is_imposed(self, target: Target) -> bool:
        return any(imposed(event.facts for event in self._reader.stream(target.tenant, target.stream)))

    def _apply_limits(self) -> None:
        """Bring jobs that wait in line with the persona's limits. Only how fast they are found depends on it, and
        maintenance does what is left: so a ledger that is busy now is no reason to call the change a failure."""
        try:
            while self._queue.apply_limits():
                pass
        except LedgerError as error:
            logger().warning("limits.not_applied_yet", error=str(error))

    # --- what looks like a slip --------------------------------------------------------------------------------------

    def _remark(self, target: Target) -> str | None:
        if target.scope is Scope.QUEUE:
            return self._remark_on_queue(target.subject)
        if target.scope is Scope.PERSONA:
            page = self._views.persona_jobs(target.tenant, target.subject, JobFilter(), after=None, limit=1)
            if not page.rows:
                return f"no job was ever for persona {target.subject!r} of {target.tenant}; it holds for those to come"
        return None

    def _remark_on_queue(self, queue: str) -> str | None:
        used = self._queues_of_types()
        if queue in used or self._queue.next_due_seconds((queue,)) is not None:
            return None
        close = difflib.get_close_matches(queue, used, n=1)
        meant = f"; did you mean {close[0]!r}?" if close else "; it holds for jobs to come"
        return f"no job type and no waiting job uses queue {queue!r}{meant}"

    def _queues_of_types(self) -> dict[str, list[str]]:
        used: dict[str, list[str]] = {}
        for row in self._catalogue.job_types():
            used.setdefault(row.definition.options.queue or DEFAULT_QUEUE, []).append(row.definition.name)
        return used

    # --- queries -----------------------------------------------------------------------------------------------------

    def list_all(self, query: ListLimits, flow: Flow) -> Accepted[tuple[LimitRow, ...]]:
        """Everything that is limited or paused."""
        if query.tenant is not None:
            self._tenants.require_known(query.tenant)
        rows = self._catalogue.limits()
        if query.tenant is not None:
            rows = [row for row in rows if row.target.tenant == query.tenant]
        return Accepted(tuple(row for row in rows if query.scope in (None, row.target.scope)))

    def history(self, query: GetLimitHistory, flow: Flow) -> Accepted[LimitHistory]:
        """What was done to a target. A page of it; the state is always the present one."""
        target = self._known_target(query)
        events = self._reader.stream(target.tenant, target.stream)
        state = reduce(evolve, (event.facts for event in events), FlowState())
        rest = [event for event in events if event.originator_version > query.after_version]
        page = tuple(_as_tenants_see(event) if query.as_tenant else event for event in rest[: query.limit])
        more = len(rest) > query.limit
        return Accepted(LimitHistory(target, state, page, page[-1].originator_version if more else None))

    def queues(self, query: ListQueues, flow: Flow) -> Accepted[tuple[QueueOverview, ...]]:
        """Every queue there is, as it is now."""
        types = self._queues_of_types()
        jobs: dict[str, dict[JobStatus, int]] = {}
        for count in self._queue.counts():
            jobs.setdefault(count.queue, {})[count.status] = count.jobs
        limited = states(self._catalogue.limits())
        named = {*types, *jobs, *(target.subject for target in limited if target.scope is Scope.QUEUE)}
        return Accepted(tuple(
            QueueOverview(
                queue, limited.get(queue_target(queue), FlowState()), jobs.get(queue, {}),
                tuple(sorted(types.get(queue, ()))),
            )
            for queue in sorted(named)
        ))  # fmt: skip


def states(rows: Iterable[LimitRow]) -> Mapping[Target, FlowState]:
    """The targets that are limited or paused, as they are."""
    return {row.target: row.state for row in rows}


def _as_tenants_see(event: RecordedEvent) -> RecordedEvent:
    """What the installation did to a target, without who, from where and why: its reasons may be about others."""
    if getattr(event.facts, "by_tenant", False):
        return event
    nameless = {"actor": INSTALLATION, "on_behalf_of": None, "address": None, "request_id": None}
    return event._replace(
        facts=event.facts.model_copy(update={"reason": ""}), metadata=event.metadata.model_copy(update=nameless)
    )
