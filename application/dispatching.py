"""Dispatching jobs: one, many, or one inside a caller's own transaction. What is refused is recorded too."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from itertools import islice
from typing import NamedTuple, NoReturn

from jobledger.domain.errors import IdempotencyConflict, InvalidInput, LedgerBusy, LedgerError, Refusal, VersionConflict
from jobledger.domain.event import Event, Metadata
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.refusal import refuse

from .commands import BulkReceipt, DispatchJob, DispatchJobs, ItemResult, Receipt
from .dispatch_item import Dispatch, Malformed
from .dispatcher import Begin, Dispatcher
from .duplicates import Duplicates, Queues
from .flow import Flow
from .known import KnownTenants, KnownTypes
from .logs import logger
from .pending import Pending
from .ports import AtOnceWriter, Clock, EventReader, Identifiers, LedgerWriter, TransactionWriter
from .positions import Positions
from .preparing import OptionDefaults, Plans, Preparation
from .result import Accepted, Refused, Result
from .writes import AppendEvents, NewJob, Outcome, Write, WriteStatus

CHUNK = 500
"""Jobs prepared and handed to the writer at once."""
CHUNK_BYTES = 8_000_000
"""A chunk ends with the payload that reaches this: no database takes 500 payloads of 4 MB in one transaction."""
CHUNKS_IN_FLIGHT = 4
"""Handed in and not yet durable, at most: memory stays bounded however long a batch is."""
_BUSY_TRIES = 3


class _Slot(NamedTuple):
    """An item of a chunk with what will be written for it, and why it was refused, if it was. `queues`: those that
    whoever asks may know of."""

    line: int
    tenant: str
    job_type: str
    write: Write
    error: Refusal | None
    queues: Queues = None


class Dispatching:
    """The handlers of `DispatchJob` and `DispatchJobs`."""

    def __init__(
        self,
        *,
        reader: EventReader,
        writer: LedgerWriter,
        transaction_writer: TransactionWriter,
        tenants: KnownTenants,
        types: KnownTypes,
        positions: Positions,
        clock: Clock,
        identifiers: Identifiers,
        defaults: OptionDefaults | None = None,
        at_once: AtOnceWriter | None = None,
    ) -> None:
        self._duplicates = Duplicates(reader)
        self._writer = writer
        self._at_once = at_once
        self._transaction_writer = transaction_writer
        self._positions = positions
        self._clock = clock
        self._identifiers = identifiers
        self._plans = Plans(tenants, types, clock, defaults)

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the commands of this module."""
        dispatcher.register(
            DispatchJob, self.dispatch_job, record_refusal=self.record_refusal,
            begin=Begin(self.may_wait, self.begin_dispatch),
        )  # fmt: skip
        dispatcher.register(DispatchJobs, self.dispatch_jobs)

    def dispatch_job(self, command: DispatchJob, flow: Flow) -> Accepted[Receipt]:
        """Dispatch one job; in a caller's transaction where the command brings one."""
        item, preparation = command.item, self._preparation(flow)
        try:
            new_job = preparation.prepare(item)
            if command.connection is not None:
                outcome = self._transaction_writer.dispatch(command.connection, [new_job])[0]
                _tell(new_job, outcome)
            else:
                written = self._writer.write([new_job])
                (outcome,) = self._duplicates.seen(written, new_job.event.tenant, item.allowed_queues)
            receipt = self._receipt(new_job, outcome)
        except Refusal as error:
            metadata = preparation.metadata_of_refused(item)
            recorded = self._writer.submit([self._refusal(error, item.tenant, item.job_type, item.line, metadata)])
            if command.connection is None:
                recorded.result()
            # else the caller's transaction may hold the only writer: the record waits for it, we must not
            raise
        return Accepted(receipt, receipt.position)

    def may_wait(self, command: DispatchJob) -> bool:
        """Whether `begin_dispatch` might ask the ledger something first, or would be of no use."""
        return command.connection is not None or self._at_once is None or not self._plans.has(command.item)

    def begin_dispatch(self, command: DispatchJob, flow: Flow) -> Pending[Receipt]:
        """`dispatch_job`, without waiting for anything."""
        item, preparation = command.item, self._preparation(flow)
        try:
            new_job = preparation.prepare(item)
        except Refusal as error:
            return self._begin_refusal(error, item, preparation)

        def look(outcomes: list[Outcome]) -> Accepted[Receipt] | Pending[Receipt]:
            if item.allowed_queues is None or outcomes[0].status is not WriteStatus.DUPLICATE:
                return settle(outcomes)
            return Pending(self._duplicates.seen_later(outcomes, new_job.event.tenant, item.allowed_queues), settle)

        def settle(outcomes: list[Outcome]) -> Accepted[Receipt] | Pending[Receipt]:
            try:
                receipt = self._receipt(new_job, outcomes[0])
            except Refusal as error:
                return self._begin_refusal(error, item, preparation)
            return Accepted(receipt, receipt.position)

        return Pending(self._submit_at_once([new_job]), look)

    def _begin_refusal(self, error: Refusal, item: Dispatch, preparation: Preparation) -> Pending[Receipt]:
        def settle(_outcomes: list[Outcome]) -> NoReturn:
            raise error

        refusal = self._refusal(error, item.tenant, item.job_type, item.line, preparation.metadata_of_refused(item))
        return Pending(self._submit_at_once([refusal]), settle)

    def _submit_at_once(self, writes: list[Write]) -> Future[list[Outcome]]:
        assert self._at_once is not None, "`may_wait` says so"
        return self._at_once.submit_at_once(writes)

    def dispatch_jobs(self, command: DispatchJobs, flow: Flow) -> Accepted[BulkReceipt]:
        """Dispatch many jobs, each accepted or refused on its own."""
        accepted = duplicates = refused = 0
        position: str | None = None
        results: list[ItemResult] = []
        try:
            for item in self.stream(command.items, flow):
                if isinstance(item.result, Refused):
                    refused += 1
                    results.append(item)
                    continue
                accepted += 1
                duplicates += item.result.value.duplicate
                position = item.result.position or position
                if command.keep_accepted:
                    results.append(item)
        except LedgerError as error:
            raise _with_how_far(error, accepted + refused) from error
        return Accepted(BulkReceipt(accepted, duplicates, refused, tuple(results), position), position)

    def stream(self, items: Iterable[Dispatch | Malformed], flow: Flow) -> Iterator[ItemResult]:
        """The results of a batch, in order, as they become durable. A `LedgerError` is raised after the results of
        all that was durable before it."""
        preparation = self._preparation(flow)
        numbered = enumerate(items, start=1)
        in_flight: deque[tuple[list[_Slot], Future[list[Outcome]]]] = deque()
        now = flow
        while slots := self._chunk(preparation, numbered, now := flow._replace(time=self._clock.now())):
            try:
                in_flight.append((slots, self._writer.submit([slot.write for slot in slots])))
            except LedgerError:
                while in_flight:
                    yield from self._settled(*in_flight.popleft(), now)
                raise
            if len(in_flight) >= CHUNKS_IN_FLIGHT:
                yield from self._settled(*in_flight.popleft(), now)
        while in_flight:
            yield from self._settled(*in_flight.popleft(), flow)

    def record_refusal(self, fields: Mapping[str, object], error: InvalidInput, flow: Flow) -> None:
        """Record a dispatch that was not even well-formed."""
        item = fields.get("item")
        tenant, job_type = (item.tenant, item.job_type) if isinstance(item, Dispatch) else ("", "")
        self._writer.write([self._refusal(error, tenant, job_type, None, flow.metadata())])

    def _preparation(self, flow: Flow) -> Preparation:
        return Preparation(self._plans, self._identifiers, flow)

    def _chunk(
        self, preparation: Preparation, numbered: Iterator[tuple[int, Dispatch | Malformed]], flow: Flow
    ) -> list[_Slot]:
        """The next items: as many as one transaction takes; none at the end."""
        preparation.at(flow)
        slots: list[_Slot] = []
        size = 0
        for number, item in islice(numbered, CHUNK):
            slot = self._slot(preparation, item, number)
            slots.append(slot)
            if slot.error is None and isinstance(slot.write, NewJob):
                size += len(slot.write.event.body or b"")
                if size >= CHUNK_BYTES:
                    break
        return slots

    def _slot(self, preparation: Preparation, item: Dispatch | Malformed, number: int) -> _Slot:
        line = item.line or number
        try:
            if isinstance(item, Malformed):
                raise item.error
            return _Slot(
                line, item.tenant, item.job_type, preparation.prepare(item), None, queues=item.allowed_queues
            )  # fmt: skip
        except Refusal as error:
            metadata = preparation.metadata_of_refused(item)
            refusal = self._refusal(error, item.tenant, item.job_type, line, metadata)
            return _Slot(line, item.tenant, item.job_type, refusal, error)

    def _settled(self, slots: list[_Slot], written: Future[list[Outcome]], flow: Flow) -> Iterator[ItemResult]:
        late_refusals: list[Write] = []
        asked = [(slot.tenant, slot.queues) for slot in slots]
        outcomes = self._duplicates.seen_each(self._outcomes(slots, written), asked)
        for slot, outcome in zip(slots, outcomes, strict=True):
            result = self._result(slot, outcome)
            if isinstance(result, Refused) and slot.error is None:
                metadata = slot.write.event.metadata if isinstance(slot.write, NewJob) else flow.metadata()
                late_refusals.append(self._refusal(result.error, slot.tenant, slot.job_type, slot.line, metadata))
            yield ItemResult(slot.line, result)
        if late_refusals:
            self._writer.write(late_refusals)

    def _outcomes(self, slots: list[_Slot], written: Future[list[Outcome]]) -> list[Outcome]:
        """The outcomes of a chunk; items whose key another transaction held are written again."""
        outcomes = written.result()
        for _ in range(_BUSY_TRIES):
            busy = [number for number, outcome in enumerate(outcomes) if outcome.status is WriteStatus.BUSY]
            if not busy:
                break
            try:
                again = self._writer.write([slots[number].write for number in busy])
            except LedgerBusy:  # the same, told of a call of which nothing was stored
                continue
            for number, outcome in zip(busy, again, strict=True):
                outcomes[number] = outcome
        return outcomes

    def _result(self, slot: _Slot, outcome: Outcome) -> Result[Receipt]:
        if slot.error is not None or not isinstance(slot.write, NewJob):
            return Refused(slot.error or Refusal("refused"))
        if outcome.status is WriteStatus.BUSY:  # an item's own trouble: the rest of the batch is durable
            return Refused(_held())
        try:
            receipt = self._receipt(slot.write, outcome)
        except Refusal as error:
            return Refused(error)
        return Accepted(receipt, receipt.position)

    def _receipt(self, new_job: NewJob, outcome: Outcome) -> Receipt:
        job_id, key = new_job.event.originator_id, new_job.idempotency
        if outcome.status is WriteStatus.WRITTEN:
            return Receipt(job_id, self._positions.text(outcome.position))
        if outcome.status is WriteStatus.DUPLICATE and key is not None:
            if outcome.job_id is None or outcome.payload_sha256 != key.payload_sha256:
                raise IdempotencyConflict(key.key, outcome.job_id)
            return Receipt(outcome.job_id, self._positions.text(outcome.position), duplicate=True)
        if outcome.status is WriteStatus.BUSY:
            raise LedgerBusy("another transaction holds this key", field="idempotency_key", hint="try again")
        raise VersionConflict(f"there is a job {job_id} already", field="job_id", rule="is new")

    def _refusal(self, error: Refusal, tenant: object, job_type: object, line: int | None, metadata: Metadata) -> Write:
        """The record of a refusal: a stream of its own, of the installation, in the request that the item was of."""
        facts = refuse(error, tenant=str(tenant), job_type=str(job_type), line=line)
        return AppendEvents((Event(self._identifiers.job_id(), 1, SYSTEM_TENANT, metadata, facts),))


def _held() -> VersionConflict:
    return VersionConflict(
        "another transaction holds this key", field="idempotency_key", rule="is held by nobody", hint="try again"
    )


def _with_how_far(error: LedgerError, settled: int) -> LedgerError:
    """The same error (a copy: others may be told it, too) that says where the batch broke off: whoever sends jobs
    without a key again would have them twice."""
    told = type(error).__new__(type(error), *error.args)
    told.__dict__.update(error.__dict__)
    how_far = f"the first {settled:,} items were settled; of those after them it is not known"
    told.hint = f"{error.hint}; {how_far}" if error.hint else how_far
    return told


def _tell(new_job: NewJob, outcome: Outcome) -> None:
    """What a caller's transaction writes passes no writer of ours, whose listener logs all else; said with a word of
    caution, for only the caller knows whether it commits."""
    if outcome.status is WriteStatus.WRITTEN:
        event = new_job.event
        logger().info(
            event.facts.topic, job_id=str(event.originator_id), job_type=new_job.state.job_type,
            queue=new_job.state.queue, persona=new_job.state.persona, in_callers_transaction=True,
        )  # fmt: skip
