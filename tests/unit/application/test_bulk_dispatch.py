"""Dispatching many jobs: each accepted or refused on its own, in chunks, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import pytest

from jobledger import Dispatch
from jobledger.application import dispatching
from jobledger.application.commands import DispatchJobs, ItemResult
from jobledger.application.dispatch_item import Malformed, parse_line, parse_lines
from jobledger.application.dispatching import CHUNK, CHUNKS_IN_FLIGHT, Dispatching
from jobledger.application.flow import Flow
from jobledger.application.known import KnownTenants, KnownTypes
from jobledger.application.ports import LedgerWriter
from jobledger.application.positions import Positions
from jobledger.application.result import Accepted, Refused
from jobledger.application.writes import NewJob, Outcome, Write, WriteStatus
from jobledger.domain.errors import InvalidInput, LedgerBusy, LedgerUnavailable
from jobledger.infrastructure.memory.ledger import MemoryWriter
from tests.support.use_cases import ACTOR, START, UseCases, app, item


def test_only_the_bad_items_are_refused() -> None:
    """Each with its line; the others are dispatched; every refusal is recorded with its line."""
    cases = UseCases()
    results = cases.bulk(
        [item(), item(tenant="ghost"), item(payload={}), item("no.such"), Malformed(9, InvalidInput("no JSON")), item()]
    )
    assert [result.line for result in results] == [1, 2, 3, 4, 9, 6]
    codes = [None if result.result.is_accepted else result.result.error.code for result in results]  # type: ignore[union-attr]
    assert codes == [None, "unknown_tenant", "invalid_input", "unknown_job_type", "invalid_input", None]
    assert [facts.line for facts in cases.refusals()] == [2, 3, 4, 9]


def test_a_batch_of_any_length_is_consumed_in_chunks() -> None:
    """A generator is read as the ledger takes it, so that memory stays bounded."""
    cases, read = UseCases(), [0]

    def items() -> Iterator[Dispatch]:
        for number in range(CHUNK * 6 + 7):
            read[0] = number
            yield item(invoice_id=str(number))

    seen: list[int] = []
    cases.ledger.writer.add_listener(lambda writes, outcomes: seen.append(read[0]))
    receipt = cases.ask(DispatchJobs, items=items(), keep_accepted=False)
    assert (receipt.accepted, receipt.refused, receipt.results) == (CHUNK * 6 + 7, 0, ())
    assert seen[0] == CHUNK - 1, "the first chunk was written before the second was read"
    assert len(seen) == 7


def test_large_payloads_are_written_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction grows with what payloads weigh: a chunk ends with the payload that makes it heavy."""
    monkeypatch.setattr(dispatching, "CHUNK_BYTES", 10_000)
    cases, seen = UseCases(), list[int]()
    cases.ledger.writer.add_listener(
        lambda writes, _: seen.append(sum(len(w.event.body or b"") for w in writes if isinstance(w, NewJob)))
    )
    items = [item(payload={"invoice_id": str(number), "note": "x" * 1_500}) for number in range(100)]
    receipt = cases.ask(DispatchJobs, items=items)
    assert receipt.accepted == len(items)
    assert [result.line for result in receipt.results] == list(range(1, len(items) + 1))
    assert max(seen) < 10_000 + 2_000


def test_results_are_in_the_order_of_the_items() -> None:
    """Whatever the chunks."""
    cases = UseCases()
    results = cases.bulk([item(invoice_id=str(number)) for number in range(CHUNK + 20)])
    bodies = [cases.events(r.result.unwrap().job_id)[0].body for r in results]
    assert [f'"{number}"'.encode() in (body or b"") for number, body in enumerate(bodies)] == [True] * (CHUNK + 20)


def test_the_position_is_the_last_one() -> None:
    """Who waits for it sees the whole batch."""
    cases = UseCases()
    receipt = cases.ask(DispatchJobs, items=[item(), item()])
    last = receipt.results[-1].result
    assert isinstance(last, Accepted)
    assert receipt.position == last.position


def test_duplicates_within_a_batch_and_before_it() -> None:
    """The first of a key is the job, the others give it back."""
    cases = UseCases()
    before = cases.dispatch("invoice.keyed", "1").job_id
    receipt = cases.ask(DispatchJobs, items=[item("invoice.keyed", number) for number in ("1", "2", "2")])
    assert (receipt.accepted, receipt.duplicates) == (3, 2)
    ids = [result.result.unwrap().job_id for result in receipt.results]
    assert ids[0] == before
    assert ids[1] == ids[2]


def test_a_conflict_that_only_the_ledger_sees_is_recorded_too() -> None:
    """Refused with its line, like all others."""
    cases = UseCases()
    results = cases.bulk([item(idempotency_key="k"), item(invoice_id="43", idempotency_key="k")])
    assert [result.result.is_accepted for result in results] == [True, False]
    assert [(facts.code, facts.line) for facts in cases.refusals()] == [("idempotency_conflict", 2)]


def test_what_was_durable_before_the_ledger_went_away_is_told() -> None:
    """The results of earlier chunks come first, then the error is raised; nothing in between is lost."""
    cases = UseCases()
    writer = _WriterThatFails(cases.ledger.writer, after=2)
    results: list[ItemResult] = []
    stream = _stream(cases, writer, [item(invoice_id=str(n)) for n in range(CHUNK * 4)])
    with pytest.raises(LedgerUnavailable):
        results.extend(stream)
    assert len(results) == CHUNK * 2


def test_the_error_that_ends_a_batch_says_how_far_it_came() -> None:
    """In a copy: the error may be told to others, too."""
    error = LedgerBusy("the only writer is busy", hint="try again")
    told = dispatching._with_how_far(error, 1_000)
    assert (type(told), told.message, error.hint) == (LedgerBusy, error.message, "try again")
    assert told.hint == "try again; the first 1,000 items were settled; of those after them it is not known"


def test_at_most_a_few_chunks_are_in_flight() -> None:
    """The writer's answers are waited for before more is handed in."""
    cases = UseCases()
    writer = _WriterThatCounts(cases.ledger.writer)
    list(_stream(cases, writer, [item(invoice_id=str(n)) for n in range(CHUNK * 8)]))
    assert writer.most_in_flight <= CHUNKS_IN_FLIGHT


def test_a_key_that_another_transaction_held_is_written_again() -> None:
    """A busy item is tried again; the others are not."""
    cases = UseCases()
    writer = _WriterThatIsBusy(cases.ledger.writer, times=2)
    results = list(_stream(cases, writer, [item(invoice_id=str(n)) for n in range(3)]))
    assert all(result.result.is_accepted for result in results)
    assert writer.sizes == [3, 1, 1]


def test_a_key_that_stays_held_is_refused_alone() -> None:
    """The rest of the batch is durable, and told; of the item that was held the refusal says what to do."""
    cases = UseCases()
    writer = _WriterThatIsBusy(cases.ledger.writer, times=99)
    held, *others = _stream(cases, writer, [item(invoice_id=str(n)) for n in range(CHUNK + 3)])
    assert isinstance(held.result, Refused)
    assert (held.result.error.field, held.result.error.hint) == ("idempotency_key", "try again")
    assert sum(result.result.is_accepted for result in others) == CHUNK + 1, "one more was held: each chunk's first"


def _stream(cases: UseCases, writer: LedgerWriter, items: list[Dispatch]) -> Iterator[ItemResult]:
    ports = cases.ledger.ports
    tenants, types = KnownTenants(ports.catalogue, ports.clock), KnownTypes(app, ports.catalogue, ports.clock)
    dispatching = Dispatching(
        reader=ports.reader, writer=writer, transaction_writer=ports.transaction_writer, tenants=tenants, types=types,
        positions=Positions(ports.reader), clock=ports.clock, identifiers=ports.identifiers,
    )  # fmt: skip
    flow = Flow(ACTOR, "flow", f"00-{'a' * 32}-{'b' * 16}-01", None, START)
    return dispatching.stream(items, flow)


# --- lines of a file -------------------------------------------------------------------------------------------------


def test_a_line_is_an_item() -> None:
    """With all its options; what it does not say comes from the command."""
    text = '{"type":"invoice.send","payload":{"invoice_id":"1"},"priority":3,"delay_seconds":5,"persona":"bot"}'
    parsed = parse_line(text, 4, tenant="acme", persona="other", reason="import")
    assert parsed == Dispatch(
        "invoice.send", {"invoice_id": "1"}, "acme", "bot", priority=3, delay_seconds=5, manual=True, reason="import",
        line=4,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{", "line"), ("[]", "line"), ("", "line"), ('{"payload":{}}', "type"),
        ('{"type":"a","payload":[]}', "payload"),
        ('{"type":"a","surprise":1}', "surprise"), ('{"type":"a","run_at":"tomorrow"}', "run_at"),
        ('{"type":"a","job_id":"x"}', "job_id"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_malformed(text: str, field: str) -> None:
    """It keeps its place, its line and what it claimed."""
    parsed = parse_line(text, 7, tenant="acme")
    assert isinstance(parsed, Malformed)
    assert (parsed.line, parsed.error.field) == (7, field)
    assert parsed.tenant == "acme"


def test_empty_lines_are_skipped_but_counted() -> None:
    """Line numbers are those of the file."""
    items = parse_lines(['{"type":"a"}', "", '{"type":"b"}'], tenant="acme")
    assert [(parsed.job_type, parsed.line) for parsed in items] == [("a", 1), ("b", 3)]


class _Wrapped:
    """A writer around the one in memory."""

    def __init__(self, inner: MemoryWriter) -> None:
        self.inner = inner
        self.sizes: list[int] = []

    def submit(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
        self.sizes.append(len(writes))
        return self.inner.submit(writes)

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        return self.submit(writes).result()

    def add_listener(self, listener: object) -> None:
        raise NotImplementedError


class _WriterThatFails(_Wrapped):
    def __init__(self, inner: MemoryWriter, after: int) -> None:
        super().__init__(inner)
        self._after = after

    def submit(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
        if len(self.sizes) >= self._after:
            raise LedgerUnavailable("the database went away")
        return super().submit(writes)


class _Counted(Future[list[Outcome]]):
    def __init__(self, outcomes: list[Outcome], writer: _WriterThatCounts) -> None:
        super().__init__()
        self.set_result(outcomes)
        self._writer = writer

    def result(self, timeout: float | None = None) -> list[Outcome]:
        self._writer.in_flight -= 1
        return super().result(timeout)


class _WriterThatCounts(_Wrapped):
    in_flight = most_in_flight = 0

    def submit(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return _Counted(self.inner.submit(writes).result(), self)


class _WriterThatIsBusy(_Wrapped):
    """Answers BUSY for the first item of a call, so many times; an item that is alone gets the error, as it really
    does where nothing of a call was stored."""

    def __init__(self, inner: MemoryWriter, times: int) -> None:
        super().__init__(inner)
        self._times = times

    def submit(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
        if self._times == 0 or not isinstance(writes[0], NewJob):
            return super().submit(writes)
        self._times -= 1
        self.sizes.append(len(writes))
        answered: Future[list[Outcome]] = Future()
        if len(writes) == 1:
            answered.set_exception(LedgerBusy("another transaction holds the job or the key"))
            return answered
        rest = self.inner.submit(writes[1:]).result()
        answered.set_result([Outcome(WriteStatus.BUSY), *rest])
        return answered


def test_refusals_can_be_told_from_acceptances() -> None:
    """Typed results (R1.4)."""
    good, bad = UseCases().bulk([item(), item(tenant="ghost")])
    assert isinstance(good.result, Accepted)
    assert isinstance(bad.result, Refused)
