"""Who may do what, decided in one place: messages go through here on their way to the dispatcher.

Programs that open the ledger themselves (the CLI, embedded services) use the dispatcher as it is: there the database's
login decides. Whoever asks over the network does so as an `Identity`.

Of a tenant that an identity has no grant for it learns nothing: the answer is that of a tenant that does not exist,
after the same statement. What is allowed is recorded by what it does, with actor, address and request; what is
refused, and what was allowed and did nothing, here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from jobledger.domain.errors import NotPermitted, Refusal, UnknownTenant
from jobledger.domain.identity import Identity, Permission

from .access_messages import RecordRefusedAccess
from .accesses import Accesses
from .allowed_access import NamedItems, allowed_access, claimed
from .commands import DispatchJob, DispatchJobs
from .dispatch_item import Dispatch, Malformed
from .dispatcher import Dispatcher
from .job_repository import no_such_job
from .known import require_not_suspended
from .lease_messages import WorkScope
from .limit_messages import ExplainJob, GetLimitHistory
from .message import Message
from .needs import NEEDS, Need, Scope, permissions_of
from .ports import Catalogue
from .queries import GetCauses, GetJob, ListTenants
from .result import Accepted, Refused, Result
from .writes import TenantRow

R = TypeVar("R")

_NAME_A_QUEUE: Final = "this key or token is for some queues: name one of them as `queue`"
_CHANGES_A_TENANT: Final = (Scope.JOB, Scope.LIST, Scope.CONTROL)
"""What a recorded message of these scopes is about belongs to one tenant, and is changed."""


class Authorization:
    """Opens the dispatcher to identities; one for a process."""

    def __init__(
        self, dispatcher: Dispatcher, catalogue: Catalogue, needs: Mapping[type[Message[Any]], Need] = NEEDS
    ) -> None:
        self.dispatcher = dispatcher
        self.accesses = Accesses(dispatcher)
        self._catalogue = catalogue
        self._needs = needs

    def of(self, identity: Identity) -> Authorized:
        """The dispatcher, as far as this identity may use it."""
        return Authorized(self, identity)

    def need(self, message_type: type[Message[Any]]) -> Need:
        """What it needs; what nobody thought of is for the program alone."""
        return self._needs.get(message_type, Need(Scope.INTERNAL, ()))

    def require_tenant(self, identity: Identity, tenant: str) -> None:
        """Raise `UnknownTenant` where the identity has no grant there: whether it exists is looked up, and not told."""
        if not identity.knows(tenant):
            self._catalogue.tenant(tenant)
            raise UnknownTenant(tenant)

    def require_not_suspended(self, tenant: str) -> None:
        """Raise `TenantSuspended`, asked just now."""
        require_not_suspended(self._catalogue, tenant)

    def has_tenant(self, tenant: str) -> bool:
        """Whether there is such a tenant: not to be told to who has no grant there."""
        return self._catalogue.tenant(tenant) is not None

    def record(self, message: Message[Any], permission: str) -> None:
        """Record a refusal. It is durable before it is told (see `Accesses` for who is refused without end)."""
        self.accesses.record(RecordRefusedAccess(
            actor=message.actor, asked=type(message).__name__, permission=permission, tenant_claimed=claimed(message),
            trace_parent=message.trace_parent, correlation_id=message.correlation_id,
        ))  # fmt: skip

    def record_allowed(self, message: Message[Any], need: Need, result: Result[Any]) -> None:
        """Record what was allowed, where nothing else tells of it: before it is told, but of duplicates, for which no
        dispatch waits."""
        access = allowed_access(message, need, result)
        if access is None:
            return
        if need.scope is Scope.DISPATCH:
            self.accesses.record_later(access)
        else:
            self.accesses.record(access)


class Authorized:
    """What a `Dispatcher` is to one identity."""

    def __init__(self, authorization: Authorization, identity: Identity) -> None:
        self._authorization = authorization
        self.identity = identity

    def execute(self, message: Message[R]) -> Result[R]:
        """Carry a message out, if the identity may."""
        need = self._authorization.need(type(message))
        if isinstance(message, DispatchJobs):
            message = cast("Message[R]", message.model_copy(update={"items": NamedItems(message.items)}))
        try:
            allowed = self._allowed(message, need)
            self._require_served(message, need)
        except Refusal as error:  # also of what is none of its business: somebody tried
            if need.recorded or getattr(message, "bodies", False):
                self._authorization.record(message, _missing(error, need))
            return Refused(error)
        result = self._authorization.dispatcher.execute(allowed)
        if isinstance(result, Refused) and isinstance(result.error, NotPermitted) and need.scope is Scope.CONTROL:
            self._authorization.record(message, result.error.permission)
        else:
            self._authorization.record_allowed(message, need, result)
        if isinstance(message, ListTenants) and isinstance(result, Accepted):
            return cast("Result[R]", self._own_tenants(result))
        return self._without_hold(result)

    def at_once(self, message: Message[R]) -> Message[R] | None:
        """What `execute_async` takes; None where it would keep its event loop waiting: then `execute` belongs on a
        thread."""
        if not isinstance(message, DispatchJob):
            return None
        queues = self.identity.queues_for(Permission.DISPATCH, message.item.tenant)
        if queues is not None and not queues:  # which is looked up and recorded
            return None
        allowed = message.model_copy(update={"item": message.item._replace(allowed_queues=queues)})
        return None if self._authorization.dispatcher.may_wait(allowed) else cast("Message[R]", allowed)

    async def execute_async(self, allowed: Message[R]) -> Result[R]:
        """Carry out what `at_once` gave."""
        result = await self._authorization.dispatcher.execute_async(allowed)
        if isinstance(result, Accepted) and getattr(result.value, "duplicate", False):
            self._authorization.record_allowed(allowed, self._authorization.need(type(allowed)), result)
        return result

    def require(self, permission: Permission, tenant: str | None, queue: str | None = None) -> None:
        """Raise `UnknownTenant` or `NotPermitted`, for what is no message (a stream of events, say)."""
        if tenant is not None:
            self._authorization.require_tenant(self.identity, tenant)
        if not self.identity.permits(permission, tenant, queue):
            raise self._not_permitted(permission, tenant, queue)

    def require_somewhere(self, permission: Permission, tenant: str) -> frozenset[str] | None:
        """The queues of a tenant in which it may do something (None: all), for what is no message. `NotPermitted` where
        there is none, `UnknownTenant` where there is no such tenant, or it is none of its business."""
        queues = self._queues(permission, tenant)  # of a tenant that is none of its business, too, after one look
        if not self._authorization.has_tenant(tenant):
            raise UnknownTenant(tenant)
        return queues

    # --- scopes ----------------------------------------------------------------------------------------------------

    def _allowed(self, message: Message[R], need: Need) -> Message[R]:
        """The message, narrowed to what the identity may; raises `NotPermitted`, `UnknownTenant` or `NotFound`."""
        permissions = permissions_of(message, need)
        match need.scope:
            case Scope.INTERNAL:
                raise NotPermitted(self.identity.id, "none: nobody may", "from outside")
            case Scope.OWN:
                return message
            case Scope.DISPATCH:
                return self._dispatching(message, permissions)
            case Scope.WORK:
                return self._working(message, permissions)
            case Scope.JOB:
                self._require_job(message, permissions)
                return self._narrowed(message)
            case Scope.NAME:
                return self._named(message, permissions)
            case Scope.CONTROL:
                return self._controlling(message, permissions)
            case scope:
                for permission in permissions:
                    self._require_place(message, permission, scope)
        return self._narrowed(message)

    def _require_place(self, message: Message[Any], permission: Permission, scope: Scope) -> None:
        """The tenant and queue that a message names. Who is for some queues, and named none, is told to."""
        tenant, queue = _place(message, scope)
        try:
            self.require(permission, tenant, queue)
        except NotPermitted as error:
            may_name = scope in (Scope.LIST, Scope.TARGET) and hasattr(message, "queue") and queue is None
            if may_name and self.identity.queues_for(permission, tenant):
                error.hint = _NAME_A_QUEUE
            raise

    def _require_served(self, message: Message[Any], need: Need) -> None:
        """Who may change something by a grant for named tenants changes nothing of one that is suspended. What runs is
        brought to its end; dispatches are refused to everybody."""
        tenant: str | None = getattr(message, "tenant", None)
        if tenant is None or not need.recorded or need.scope not in _CHANGES_A_TENANT:
            return
        if any(self.identity.tenants_for(permission) is not None for permission in permissions_of(message, need)):
            self._authorization.require_not_suspended(tenant)

    def _narrowed(self, message: Message[R]) -> Message[R]:
        """What has to do with a job may be in another queue; what the installation did is not told to its tenants."""
        update: dict[str, object] = {}
        if isinstance(message, GetCauses | ExplainJob):
            update["queues"] = self.identity.queues_for(Permission.READ, message.tenant)
        if isinstance(message, GetLimitHistory | ExplainJob):
            update["as_tenant"] = self.identity.tenants_for(Permission.READ) is not None
        return message.model_copy(update=update) if update else message

    def _named(self, message: Message[R], permissions: Iterable[Permission]) -> Message[R]:
        """A tenant as a whole is the installation's: who is for that tenant alone could undo what was imposed on it."""
        self._authorization.require_tenant(self.identity, str(getattr(message, "name")))  # noqa: B009 - the scope says so
        for permission in permissions:
            self.require(permission, None)
        return message

    def _controlling(self, message: Message[R], permissions: Iterable[Permission]) -> Message[R]:
        """A persona or key is the tenant's own, but for what the installation did to it: see `by_tenant`."""
        tenant, queue = getattr(message, "tenant", None), getattr(message, "queue", None)
        if tenant is not None:
            self._authorization.require_tenant(self.identity, tenant)
        is_own = getattr(message, "persona", None) is not None or getattr(message, "key", None) is not None
        for permission in permissions:
            self.require(permission, tenant if is_own else None, queue)
        by_tenant = is_own and not all(self.identity.permits(permission, None, None) for permission in permissions)
        return message.model_copy(update={"by_tenant": by_tenant})

    def _dispatching(self, message: Message[R], permissions: Iterable[Permission]) -> Message[R]:
        """Queues are known once an item's options are: those that are permitted go along with the command."""
        (permission,) = permissions
        if isinstance(message, DispatchJob):
            queues = self._queues(permission, message.item.tenant)
            item = message.item._replace(allowed_queues=queues)
            narrowed: Message[Any] = message.model_copy(update={"item": item})
        else:
            assert isinstance(message, DispatchJobs)
            narrowed = message.model_copy(update={"items": self._items(message.items, permission)})
        return cast("Message[R]", narrowed)

    def _working(self, message: Message[R], permissions: Iterable[Permission]) -> Message[R]:
        """What a worker asks: the tenants and queues that it may work for go along."""
        (permission,) = permissions
        for tenant in _tenants_named(message):
            self._queues(permission, tenant)
        grants = self.identity.grants_for(permission)
        scopes = tuple(WorkScope(tenants=grant.tenants, queues=grant.queues) for grant in grants)
        if not scopes:
            raise NotPermitted(self.identity.id, permission.value, "for any tenant")
        for queue in getattr(message, "queues", ()):
            if not any(scope.has_queue(queue) for scope in scopes):
                raise NotPermitted(self.identity.id, permission.value, f"in queue {queue}")
        return message.model_copy(update={"scopes": scopes}) if hasattr(message, "scopes") else message

    def _items(self, items: Iterable[Dispatch | Malformed], permission: Permission) -> Iterator[Dispatch | Malformed]:
        """Items of a batch, those that are not permitted marked as refused."""
        for number, item in enumerate(items, start=1):
            if isinstance(item, Malformed):
                yield item
                continue
            try:
                queues = self._queues(permission, item.tenant)
            except Refusal as error:
                yield Malformed(item.line or number, error, item.tenant, item.job_type)
                continue
            yield item if queues is None else item._replace(allowed_queues=queues)

    def _queues(self, permission: Permission, tenant: str) -> frozenset[str] | None:
        self._authorization.require_tenant(self.identity, tenant)
        queues = self.identity.queues_for(permission, tenant)
        if queues is not None and not queues:
            raise self._not_permitted(permission, tenant, None)
        return queues

    def _require_job(self, message: Message[Any], permissions: Iterable[Permission]) -> None:
        """A job in a queue that the identity may not see is as absent as one that is not there."""
        tenant: str = getattr(message, "tenant")  # noqa: B009 - every message about one job has it
        reference: UUID | str = getattr(message, "job")  # noqa: B009
        self._authorization.require_tenant(self.identity, tenant)
        for permission in permissions:
            queues = self._queues(permission, tenant)
            if queues is not None and self._queue_of(message, tenant, reference) not in queues:
                raise no_such_job(tenant, reference)

    def _queue_of(self, message: Message[Any], tenant: str, reference: UUID | str) -> str | None:
        asked = GetJob(actor=message.actor, tenant=tenant, job=reference)
        found = self._authorization.dispatcher.execute(asked)
        return found.value.state.queue if isinstance(found, Accepted) else None

    def _own_tenants(self, result: Accepted[Any]) -> Accepted[tuple[TenantRow, ...]]:
        rows = cast("tuple[TenantRow, ...]", result.value)
        return Accepted(tuple(row for row in rows if self.identity.knows(row.name)), result.position)

    def _without_hold(self, result: Result[R]) -> Result[R]:
        """Who is for some tenants is told that an open transaction holds a list back, and since when. Its program and
        login are the installation's, or another customer's."""
        fresh = getattr(result.value, "freshness", None) if isinstance(result, Accepted) else None
        if fresh is None or fresh.hold is None or self.identity.tenants_for(Permission.READ) is None:
            return result
        hold = fresh.hold._replace(pid=None, application=None, login=None, state=None)
        shown = cast("Any", result).value._replace(freshness=fresh._replace(hold=hold))
        return Accepted(shown, result.position) if isinstance(result, Accepted) else result

    def _not_permitted(self, permission: Permission, tenant: str | None, queue: str | None) -> NotPermitted:
        place = f"for tenant {tenant}" if tenant is not None else "for the whole installation"
        if queue is not None:
            place = f"{place} in queue {queue}" if tenant is not None else f"in queue {queue} of all tenants"
        return NotPermitted(self.identity.id, permission.value, place)


def _place(message: Message[Any], scope: Scope) -> tuple[str | None, str | None]:
    """The tenant and the queue that a grant has to cover; None stands for all."""
    if scope is Scope.INSTALLATION:
        return None, None
    tenant: str | None = getattr(message, "tenant", None)
    queue: str | None = getattr(message, "queue", None) if scope in (Scope.LIST, Scope.TARGET) else None
    return tenant, queue


def _tenants_named(message: Message[Any]) -> Iterable[str]:
    """The tenant of a message about one attempt, those that a claim is narrowed to."""
    tenant: str | None = getattr(message, "tenant", None)
    return [tenant] if tenant is not None else sorted(getattr(message, "tenants", None) or ())


def _missing(error: Refusal, need: Need) -> str:
    """The permission that was missing, there; where not even that is told, the first that is needed."""
    if isinstance(error, NotPermitted):
        return error.permission
    return next(iter(need.permissions), "")
