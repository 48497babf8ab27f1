"""Every error jobledger raises on purpose.

One root, typed attributes, and three things in each message: what happened, which field and rule, what to run next.
Errors of drivers and libraries are wrapped where they arise; the cause is kept (`raise ... from`).
"""

from __future__ import annotations

from typing import ClassVar


class JobledgerError(Exception):
    """Root of all errors. `code` is stable and may be matched on by callers and stored in the ledger."""

    code: ClassVar[str] = "jobledger_error"

    def __init__(
        self, message: str, *, field: str | None = None, rule: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.rule = rule
        self.hint = hint

    def __str__(self) -> str:
        """The message, with the field in front and the next step behind where they are known."""
        text = f"{self.field}: {self.message}" if self.field else self.message
        return f"{text} ({self.hint})" if self.hint else text


# --- refusals: expected answers to a command -----------------------------------------------------------------------


class Refusal(JobledgerError):
    """An expected "no" to a command; use cases return it as `Refused` instead of raising it."""

    code = "refused"


class InvalidInput(Refusal):
    """A value breaks a rule; `field` is its path, `rule` the rule it breaks."""

    code = "invalid_input"


class PayloadTooLarge(InvalidInput):
    """A payload or result is above its limit in bytes."""

    code = "payload_too_large"


class UnknownTenant(Refusal):
    """No tenant of that name: a job without a resolvable tenant fails at once (R4.4)."""

    code = "unknown_tenant"

    def __init__(self, tenant: str) -> None:
        super().__init__(
            f"there is no tenant {tenant!r}", field="tenant", rule="must exist",
            hint=f"create it with: jobledger tenants create {tenant}",
        )  # fmt: skip
        self.tenant = tenant


class TenantSuspended(Refusal):
    """The tenant exists but is suspended: nothing is dispatched, requeued or run for it, and its own change nothing."""

    code = "tenant_suspended"

    def __init__(self, tenant: str) -> None:
        super().__init__(f"tenant {tenant!r} is suspended", field="tenant", rule="must be active")
        self.tenant = tenant


class UnknownJobType(Refusal):
    """Neither this program nor the installation's registry knows the job type."""

    code = "unknown_job_type"

    def __init__(self, job_type: str, known: tuple[str, ...] = ()) -> None:
        more = f" and {len(known) - 8} more: jobledger types list" if len(known) > 8 else ""
        hint = f"known types: {', '.join(known[:8])}{more}" if known else "a worker registers its types when it starts"
        super().__init__(f"no job type {job_type!r} is registered", field="type", rule="must be registered", hint=hint)
        self.job_type = job_type


class NotFound(Refusal):
    """Nothing of that id is visible to this tenant (the same answer for ids of other tenants)."""

    code = "not_found"


class IllegalTransition(Refusal):
    """The status of a job (or a tenant) does not allow the decision; names both statuses."""

    code = "illegal_transition"

    def __init__(self, status: str, target: str, why: str = "", *, what: str = "job", hint: str | None = None) -> None:
        reason = f": {why}" if why else ""
        super().__init__(
            f"a {what} that is {status} cannot become {target}{reason}", field="status",
            rule=f"{status} -> {target}", hint=hint,
        )  # fmt: skip
        self.status = status
        self.target = target


class TenantExists(IllegalTransition):
    """A tenant's name is taken once and for all."""

    code = "tenant_exists"

    def __init__(self, tenant: str, status: str) -> None:
        Refusal.__init__(self, f"tenant {tenant!r} exists already", field="name", rule="a name is taken once")
        self.status = status
        self.target = "created"


class LeaseLost(Refusal):
    """The attempt has ended or belongs to another worker: this ending is not accepted (fencing)."""

    code = "lease_lost"


class ReasonRequired(InvalidInput):
    """A manual act without a reason is refused (R4.13)."""

    code = "reason_required"

    def __init__(self, act: str) -> None:
        super().__init__(
            f"{act} needs a reason", field="reason", rule="manual acts carry actor and reason",
            hint='say why; on the command line: --reason "..."',
        )  # fmt: skip


class IdempotencyConflict(Refusal):
    """The key was used before with a different payload; or by a job that whoever asks may not see (`job_id` None)."""

    code = "idempotency_conflict"

    def __init__(self, key: str, job_id: object | None) -> None:
        if job_id is None:
            message, rule = f"key {key!r} was already used by a job in another queue", "is new for this job type"
        else:
            message = f"key {key!r} was already used by job {job_id} with a different payload"
            rule = "same key, same payload"
        super().__init__(message, field="idempotency_key", rule=rule)
        self.key = key
        self.job_id = job_id


class NotYetVisible(Refusal):
    """What was asked for `after` a position has not reached it in time; asking again is safe."""

    code = "not_yet_visible"


class VersionConflict(Refusal):
    """The stream moved on since it was read."""

    code = "version_conflict"


class CountChanged(Refusal):
    """More matches now than was confirmed: look again."""

    code = "count_changed"

    def __init__(self, confirmed: int, found: int) -> None:
        super().__init__(
            f"{found:,} dead jobs match now, {confirmed:,} were confirmed; nothing was done", field="confirmed",
            rule="matches no more than was confirmed", hint="count again, then confirm that number",
        )  # fmt: skip
        self.confirmed = confirmed
        self.found = found


class NotConfirmed(Refusal):
    """What is done to many at once must be confirmed by somebody who saw how many."""

    code = "not_confirmed"


class RebuildUnderWay(Refusal):
    """A view has one rebuild at a time: another is not over."""

    code = "rebuild_under_way"


class NonConformingType(Refusal):
    """A job type breaks the conformance checklist (R4.14)."""

    code = "non_conforming_type"


class Unauthenticated(Refusal):
    """Nobody knows who asks: no key or token, or one that is wrong, expired or withdrawn. Which, is not told."""

    code = "unauthenticated"


class IssuerUnavailable(JobledgerError):
    """Whether a token is good cannot be found out: its issuer does not answer, and none of its keys is known yet."""

    code = "issuer_unavailable"


class NotPermitted(Refusal):
    """Who asks is known, and may not do that."""

    code = "not_permitted"

    def __init__(self, identity: str, permission: str, where: str) -> None:
        super().__init__(
            f"{identity} may not do that {where}", rule=f"needs the permission {permission}",
            hint="who administers the keys of this installation can grant it",
        )  # fmt: skip
        self.permission = permission


class ProtectedTenant(Refusal):
    """The tenant `system` belongs to the installation itself."""

    code = "protected_tenant"


# --- settings ------------------------------------------------------------------------------------------------------


class InvalidSettings(JobledgerError):
    """A setting breaks its rule, or there is none of that name; `field` is the environment variable."""

    code = "invalid_settings"


# --- the ledger ----------------------------------------------------------------------------------------------------


class LedgerError(JobledgerError):
    """The ledger could not do its part."""

    code = "ledger_error"


class LedgerUnavailable(LedgerError):
    """The database does not answer, is full, or went away; nothing of the command was written."""

    code = "ledger_unavailable"


class LoginRefused(LedgerUnavailable):
    """The ledger is there, but this login to its database may not do that."""

    code = "login_refused"


class LedgerBusy(LedgerError):
    """The ledger is there but could not take this write in time; nothing was written, trying again is safe."""

    code = "ledger_busy"


class CommitUnknown(LedgerError):
    """The answer to a COMMIT was lost, and nobody could find out yet whether it took place."""

    code = "commit_unknown"


class LedgerNotFound(LedgerError):
    """There is no ledger where the settings point."""

    code = "ledger_not_found"


class LedgerRestored(LedgerError):
    """The ledger's positions lie below a checkpoint: the database was restored to an earlier moment."""

    code = "ledger_restored"


class SchemaTooNew(LedgerError):
    """The ledger was migrated by a newer jobledger."""

    code = "schema_too_new"


class SchemaOutdated(LedgerError):
    """The ledger needs `jobledger migrate`."""

    code = "schema_outdated"


class MigrationFailed(LedgerError):
    """A migration failed and left the schema unchanged."""

    code = "migration_failed"


class UnknownTopic(LedgerError):
    """A stored event has a topic, or a version of it, that this program does not know (it is older than the ledger)."""

    code = "unknown_topic"


class CorruptEvent(LedgerError):
    """A stored event cannot be read as what its topic says."""

    code = "corrupt_event"


# --- what a handler may raise ---------------------------------------------------------------------------------------


class HandlerSignal(JobledgerError):
    """Raised by a handler to say how its attempt ends."""

    code = "handler_signal"


class NeverRetry(HandlerSignal):
    """This job can never succeed: it goes to the DLQ as unrecoverable, whatever attempts remain."""

    code = "never_retry"


class UnknownSecret(NeverRetry):
    """The vault has no secret of that name for the job's tenant: no further attempt can help."""

    code = "unknown_secret"


class TransactionUnavailable(NeverRetry):
    """`context.transaction()` is not to be had here: on this engine, or for this kind of handler."""

    code = "transaction_unavailable"


class RetryAfter(HandlerSignal):
    """Try again no sooner than `delay_seconds` from now (for instance a provider's Retry-After)."""

    code = "retry_after"

    def __init__(self, delay_seconds: float, message: str = "asked to retry later") -> None:
        super().__init__(message)
        self.delay_seconds = delay_seconds


class Snooze(HandlerSignal):
    """Not now: put the job back for `delay_seconds` without counting the attempt."""

    code = "snooze"

    def __init__(self, delay_seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.delay_seconds = delay_seconds


class VaultUnavailable(Snooze):
    """The vault cannot be asked now: the job is put off, and no attempt is lost."""

    code = "vault_unavailable"
    delay_seconds: float = 30.0

    def __init__(self, reason: str) -> None:
        super().__init__(VaultUnavailable.delay_seconds, reason)


class JobCancelledError(HandlerSignal):
    """Raised inside a handler by `context.check_cancelled()` once a person asked to cancel the job."""

    code = "job_cancelled"


class SoftTimeout(HandlerSignal):
    """Raised inside a handler by `context.check_cancelled()` once its soft timeout passed: the attempt fails."""

    code = "soft_timeout"

    def __init__(self, soft_timeout_seconds: float) -> None:
        super().__init__(f"the handler ran longer than its soft timeout of {soft_timeout_seconds:g} seconds")
        self.soft_timeout_seconds = soft_timeout_seconds
