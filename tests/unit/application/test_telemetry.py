"""Telemetry is bound once: a span a command, an attempt linked to its dispatch, one log event a transition."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from structlog.testing import capture_logs
from structlog.typing import EventDict

from jobledger.application.commands import CancelJob, DispatchJob, DispatchJobs
from jobledger.application.dispatcher import Dispatcher
from jobledger.application.dlq_messages import DiscardDlq
from jobledger.application.flow import Flow
from jobledger.application.queries import GetJob, ListTenants
from jobledger.application.result import Accepted
from jobledger.application.telemetry import Telemetry, mark_failed
from jobledger.application.transitions import TransitionLog
from jobledger.application.wake_up_listener import waking
from jobledger.application.writes import TenantRow
from jobledger.domain.errors import InvalidInput, NotFound, UnknownTenant
from tests.support.use_cases import ACTOR, UseCases, item


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Keeps the spans of a test."""
    return InMemorySpanExporter()


@pytest.fixture
def telemetry(exporter: InMemorySpanExporter) -> Telemetry:
    """Telemetry with an SDK of its own: nothing global is touched."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Telemetry(provider)


def _span(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    (found,) = [span for span in exporter.get_finished_spans() if span.name == name]
    return found


# --- spans -----------------------------------------------------------------------------------------------------------


def test_dispatch_and_attempt_are_linked_through_the_stored_traceparent(
    exporter: InMemorySpanExporter, telemetry: Telemetry
) -> None:
    """The attempt, in whatever process, is a child of the dispatch."""
    cases = UseCases(telemetry=telemetry)
    job_id = cases.dispatch().job_id
    stored = cases.events(job_id)[0].metadata.trace_parent
    with telemetry.attempt("invoice.send", stored, {"attempt": 1}) as handed_on:
        pass
    dispatch, attempt = _span(exporter, "jobledger.dispatch_job"), _span(exporter, "jobledger.attempt invoice.send")
    assert dispatch.context is not None and attempt.context is not None and attempt.parent is not None
    assert attempt.context.trace_id == dispatch.context.trace_id
    assert attempt.parent.span_id == dispatch.context.span_id
    assert handed_on.split("-")[2] == f"{attempt.context.span_id:016x}"


def test_a_command_joins_the_trace_of_its_caller(exporter: InMemorySpanExporter, telemetry: Telemetry) -> None:
    """Given as a traceparent, or current where the command is called."""
    cases = UseCases(telemetry=telemetry)
    given = f"00-{'c' * 32}-{'d' * 16}-01"
    cases.ask(DispatchJob, item=item(), trace_parent=given)
    span = _span(exporter, "jobledger.dispatch_job")
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == "c" * 32
    exporter.clear()
    with telemetry.command("http", given, {}):
        cases.dispatch()
    outer, inner = _span(exporter, "jobledger.http"), _span(exporter, "jobledger.dispatch_job")
    assert inner.parent is not None and outer.context is not None
    assert inner.parent.span_id == outer.context.span_id


def test_a_batch_is_one_span(exporter: InMemorySpanExporter, telemetry: Telemetry) -> None:
    """All its jobs are linked to it."""
    cases = UseCases(telemetry=telemetry)
    results = cases.bulk([item(), item()])
    span = _span(exporter, "jobledger.dispatch_jobs")
    assert span.context is not None
    stored = {cases.events(r.result.unwrap().job_id)[0].metadata.trace_parent.split("-")[2] for r in results}
    assert stored == {f"{span.context.span_id:016x}"}


def test_a_refusal_is_an_answer_and_no_error(exporter: InMemorySpanExporter, telemetry: Telemetry) -> None:
    """The span says which refusal; an attempt that failed is an error."""
    cases = UseCases(telemetry=telemetry)
    cases.refused(UnknownTenant, DispatchJob, item=item(tenant="ghost"))
    span = _span(exporter, "jobledger.dispatch_job")
    assert span.attributes is not None
    assert (span.attributes["jobledger.refused"], span.status.status_code) == ("unknown_tenant", StatusCode.UNSET)
    with telemetry.attempt("invoice.send", f"00-{'c' * 32}-{'d' * 16}-01", {}):
        mark_failed("it broke")
    assert _span(exporter, "jobledger.attempt invoice.send").status.status_code is StatusCode.ERROR


def test_without_an_sdk_nothing_is_entered_and_traces_are_made_all_the_same() -> None:
    """Every job has a trace id, whoever collects it (R4.4)."""
    telemetry = Telemetry()
    assert not telemetry.enabled
    cases = UseCases(telemetry=telemetry)
    first, second = (cases.events(cases.dispatch().job_id)[0].metadata for _ in range(2))
    assert first.trace_id != second.trace_id
    with telemetry.attempt("invoice.send", first.trace_parent, {}) as handed_on:
        assert handed_on == first.trace_parent
    mark_failed("nothing listens")


# --- the dispatcher --------------------------------------------------------------------------------------------------


def test_what_a_handler_logs_says_for_whom_and_why() -> None:
    """Tenant, command, correlation id and actor are bound by the dispatcher, and gone afterwards."""
    seen: list[dict[str, object]] = []
    cases = UseCases()
    dispatcher = Dispatcher(cases.clock, cases.ledger.identifiers)

    def handle(query: ListTenants, flow: Flow) -> Accepted[tuple[TenantRow, ...]]:
        seen.append(structlog.contextvars.get_contextvars())
        return Accepted(())

    dispatcher.register(ListTenants, handle)
    dispatcher.send(ListTenants, actor=ACTOR, correlation_id="flow-x")
    assert seen == [{"tenant": "", "command": "list_tenants", "correlation_id": "flow-x", "actor": ACTOR.id}]
    assert structlog.contextvars.get_contextvars() == {}


def test_a_message_has_one_handler() -> None:
    """A second is refused, and so is a message that nobody handles."""
    cases = UseCases()
    dispatcher = Dispatcher(cases.clock, cases.ledger.identifiers)
    with pytest.raises(InvalidInput, match="nobody handles ListTenants"):
        dispatcher.execute(ListTenants(actor=ACTOR))
    dispatcher.register(ListTenants, lambda query, flow: Accepted(()))
    with pytest.raises(InvalidInput, match="a handler already"):
        dispatcher.register(ListTenants, lambda query, flow: Accepted(()))
    assert dispatcher.messages == (ListTenants,)


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"tenant": 7}, "tenant"), ({"job": None}, "job.uuid"), ({"surprise": 1}, "surprise"), ({"actor": {}}, "actor.id"),
     ({"trace_parent": "x"}, "trace_parent"), ({"correlation_id": ""}, "correlation_id")],
)  # fmt: skip
def test_a_field_that_breaks_a_rule_is_a_refusal(fields: dict[str, object], field: str) -> None:
    """Typed and named, not an exception (R1.4)."""
    cases = UseCases()
    good = {"actor": ACTOR, "tenant": "acme", "job": cases.dispatch().job_id, "reason": "x"}
    result = cases.dispatcher.send(CancelJob, **{**good, **fields})  # type: ignore[arg-type]
    assert not result.is_accepted
    with pytest.raises(InvalidInput) as caught:
        result.unwrap()
    assert caught.value.field == field


def test_results_unwrap() -> None:
    """To their value, or by raising the refusal."""
    cases = UseCases()
    receipt = cases.dispatch()
    assert cases.send(GetJob, tenant="acme", job=receipt.job_id).unwrap().job_id == receipt.job_id
    with pytest.raises(NotFound):
        cases.send(GetJob, tenant="other", job=receipt.job_id).unwrap()


# --- transitions -----------------------------------------------------------------------------------------------------


@pytest.fixture
def plain_logging() -> Iterator[Callable[[int], None]]:
    """Sets the log level for a test."""
    before = structlog.get_config()

    def at(level: int) -> None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level), cache_logger_on_first_use=False)

    yield at
    structlog.configure(**before)


def _logging_cases() -> tuple[UseCases, TransitionLog]:
    cases, transitions = UseCases(), TransitionLog()
    cases.ledger.writer.add_listener(transitions.committed)
    return cases, transitions


def _about_jobs(logs: list[EventDict]) -> list[EventDict]:
    return [entry for entry in logs if entry["event"].startswith("job.")]


def test_every_transition_is_one_log_event(plain_logging: Callable[[int], None]) -> None:
    """An event name and fields, whoever wrote it (R4.8)."""
    plain_logging(logging.INFO)
    with capture_logs() as logs:
        cases, transitions = _logging_cases()
        job_id = cases.dispatch(persona="billing-bot").job_id
        (job,) = cases.claim()
        transitions.started([job], worker="w1")
        cases.fail(job, for_good=True)
    told = _about_jobs(logs)
    assert [(entry["event"], entry["log_level"], entry["version"]) for entry in told] == [
        ("job.dispatched", "info", 1), ("job.started", "info", 2), ("job.failed", "warning", 3),
        ("job.sent_to_dlq", "error", 4),
    ]  # fmt: skip
    for entry in told:
        assert (entry["tenant"], entry["job_id"], entry["job_type"]) == ("acme", str(job_id), "invoice.send")
        assert (entry["queue"], entry["persona"]) == ("default", "billing-bot")
        assert entry["actor"] and entry["correlation_id"] and entry["trace_id"]
    assert (told[2]["attempt"], told[2]["error_type"], told[2]["message"]) == (1, "Broken", "it broke")
    assert told[3]["reason"] == "unrecoverable"


def test_an_act_on_many_dead_jobs_is_told(plain_logging: Callable[[int], None]) -> None:
    """What began, and what came of it."""
    plain_logging(logging.INFO)
    with capture_logs() as logs:
        cases, _ = _logging_cases()
        cases.dead()
        cases.ask(DiscardDlq, tenant="acme", confirmed=1, reason="hopeless")
    begun, ended = (entry for entry in logs if str(entry["event"]).startswith("dlq."))
    assert (begun["event"], begun["act"], begun["confirmed"], begun["reason"]) == (
        "dlq.bulk_begun", "discard", 1, "hopeless",
    )  # fmt: skip
    assert (ended["event"], ended["changed"], ended["skipped"], ended["finished"]) == ("dlq.bulk_ended", 1, 0, True)


def test_a_refused_dispatch_is_told_too(plain_logging: Callable[[int], None]) -> None:
    """A warning with what was claimed and why not; a tenant's birth is an event as well."""
    plain_logging(logging.INFO)
    with capture_logs() as logs:
        cases, _ = _logging_cases()
        cases.refused(UnknownTenant, DispatchJob, item=item(tenant="ghost"))
    (refusal,) = [entry for entry in logs if entry["event"] == "dispatch.refused"]
    assert (refusal["log_level"], refusal["code"], refusal["tenant_claimed"]) == ("warning", "unknown_tenant", "ghost")
    (answer,) = [entry for entry in logs if entry["event"] == "command.refused"]
    assert (answer["code"], answer["field"]) == ("unknown_tenant", "tenant")


def test_no_payload_is_ever_logged(plain_logging: Callable[[int], None]) -> None:
    """Bodies are customers' data."""
    plain_logging(logging.DEBUG)
    with capture_logs() as logs:
        cases, _ = _logging_cases()
        cases.dispatch(payload={"invoice_id": "very-private"})
        cases.bulk([item(payload={"invoice_id": "very-private"})])
        cases.complete(cases.claim()[0], b'{"sent":"very-private"}')
    assert "very-private" not in repr(logs)


@pytest.mark.parametrize(
    ("level", "events"), [(logging.WARNING, ["job.failed", "job.sent_to_dlq"]), (logging.CRITICAL, [])]
)
def test_what_the_level_filters_is_not_told(
    plain_logging: Callable[[int], None], level: int, events: list[str]
) -> None:
    """Nor is anything built for it."""
    plain_logging(level)
    with capture_logs() as logs:
        cases, transitions = _logging_cases()
        cases.dispatch()
        (job,) = cases.claim()
        transitions.started([job], worker="w1")
        cases.fail(job, for_good=True)
    assert [entry["event"] for entry in _about_jobs(logs)] == events


def test_a_write_that_was_not_stored_is_not_told(plain_logging: Callable[[int], None]) -> None:
    """A duplicate is no transition."""
    plain_logging(logging.INFO)
    with capture_logs() as logs:
        cases, _ = _logging_cases()
        for _ in range(2):
            cases.dispatch("invoice.keyed")
    assert [entry["event"] for entry in _about_jobs(logs)] == ["job.dispatched"]


def test_a_dispatch_in_a_callers_transaction_is_told_with_caution(plain_logging: Callable[[int], None]) -> None:
    """Only the caller knows whether it commits."""
    plain_logging(logging.INFO)
    with capture_logs() as logs:
        cases, _ = _logging_cases()
        job_id = cases.ask(DispatchJob, item=item(), connection=cases.ledger.transaction()).job_id
    (entry,) = _about_jobs(logs)
    assert (entry["event"], entry["job_id"], entry["in_callers_transaction"]) == ("job.dispatched", str(job_id), True)


def test_a_library_is_quiet_until_its_program_configures_logging(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing on stdout, which is the program's; warnings go where the standard library's go."""
    before = structlog.get_config()
    structlog.reset_defaults()
    try:
        cases, _ = _logging_cases()
        cases.dispatch()
        cases.refused(UnknownTenant, DispatchJob, item=item(tenant="ghost"))
    finally:
        structlog.configure(**before)
    assert capsys.readouterr().out == ""


# --- wake-up ---------------------------------------------------------------------------------------------------------


def test_workers_are_woken_by_what_became_ready() -> None:
    """Named by queue: dispatched and due, or requeued; never by what waits, ends or is refused."""
    from jobledger.application.commands import RequeueJob, RescheduleJob

    cases = UseCases()
    woken: list[frozenset[str]] = []

    class Wakes:
        def notify(self, queues: frozenset[str]) -> None:
            woken.append(queues)

        def wait(self, timeout_seconds: float) -> bool:
            return False

        def close(self) -> None: ...

    cases.ledger.writer.add_listener(waking(Wakes()))
    cases.ask(DispatchJobs, items=[item(), item("invoice.keyed"), item(delay_seconds=60)])
    assert woken == [frozenset({"default", "keyed"})]
    for job in cases.claim(limit=2):
        cases.complete(job)
    later = cases.dispatch(delay_seconds=60).job_id
    cases.refused(UnknownTenant, DispatchJob, item=item(tenant="ghost"))
    assert len(woken) == 1
    cases.ask(RescheduleJob, tenant="acme", job=later, reason="now", due_at=cases.clock.now())
    cases.complete(cases.claim()[0])
    dead = cases.dead(queue="keyed").job_id
    cases.ask(RequeueJob, tenant="acme", job=dead, reason="fixed")
    assert woken[1:] == [frozenset({"default"}), frozenset({"keyed"}), frozenset({"keyed"})]
