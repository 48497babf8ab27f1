"""The trace that a request belongs to, where the program uses OpenTelemetry."""

from __future__ import annotations

import sys
from typing import Any

_MODULE = "opentelemetry.trace"


def current_trace_parent() -> str | None:
    """The W3C traceparent of the current span. Where nobody has loaded OpenTelemetry there is no span, so it is not
    loaded for the question."""
    trace: Any = sys.modules.get(_MODULE)
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
