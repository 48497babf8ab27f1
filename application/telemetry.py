"""Spans, over the OpenTelemetry API: one for each command and query, one for each attempt.

A job stores the traceparent of the span that dispatched it; its attempts are children of that span, whatever process
runs them. Where no SDK is configured, nothing of this is entered.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_NAME = "jobledger"
_PROPAGATOR = TraceContextTextMapPropagator()

Attributes = Mapping[str, str | int | float | bool]


class Telemetry:
    """Where spans begin and end. Without `tracer_provider` the process's global one is used, if one was set."""

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._provider = tracer_provider

    @property
    def enabled(self) -> bool:
        """Whether spans go anywhere."""
        return self._provider is not None or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)

    @contextmanager
    def command(self, name: str, trace_parent: str | None, attributes: Attributes) -> Iterator[str | None]:
        """A span around a command; yields the traceparent to hand on (the given one where nothing is traced)."""
        if not self.enabled:
            yield trace_parent
            return
        with self._span(f"{_NAME}.{name}", trace_parent, attributes, SpanKind.PRODUCER) as span:
            yield trace_parent_of(span) or trace_parent

    @contextmanager
    def attempt(self, job_type: str, trace_parent: str, attributes: Attributes) -> Iterator[str]:
        """A span around one execution, a child of the dispatch; yields the traceparent for what the handler calls.

        An exception that leaves the block marks the span as failed.
        """
        if not self.enabled:
            yield trace_parent
            return
        with self._span(f"{_NAME}.attempt {job_type}", trace_parent, attributes, SpanKind.CONSUMER) as span:
            yield trace_parent_of(span) or trace_parent

    @contextmanager
    def _span(
        self, name: str, trace_parent: str | None, attributes: Attributes, kind: SpanKind
    ) -> Generator[Span, None, None]:
        # without a traceparent of its own, the span joins the one that is current where the command was called
        parent = context_of(trace_parent) if trace_parent else None
        with self._tracer().start_as_current_span(name, context=parent, kind=kind, attributes=attributes) as span:
            yield span

    def _tracer(self) -> Tracer:
        return trace.get_tracer(_NAME, tracer_provider=self._provider)


def context_of(trace_parent: str) -> Context:
    """The remote context that a traceparent names."""
    return _PROPAGATOR.extract({"traceparent": trace_parent})


def trace_parent_of(span: Span) -> str | None:
    """The W3C traceparent of a span; None where it is not a real one."""
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def mark_refused(code: str) -> None:
    """Say on the current span that a command was refused (which is an answer, not an error)."""
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attribute(f"{_NAME}.refused", code)


def mark_failed(description: str) -> None:
    """Say on the current span that the attempt failed."""
    span = trace.get_current_span()
    if span.is_recording():
        span.set_status(Status(StatusCode.ERROR, description))
