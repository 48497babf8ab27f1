"""How events are handed to auditors: canonical JSON Lines, CloudEvents 1.0 (JSON, one a line), or CSV.

One event gives the same bytes whenever and wherever it is exported by this version: there is nothing of the export
itself in them.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from jobledger.domain.audit import ExportFormat
from jobledger.domain.errors import InvalidInput
from jobledger.domain.event import RecordedEvent

from .canonical_json import canonical

Encode = Callable[[RecordedEvent], bytes]
"""An event as a line (or, in CSV, a record), its end included."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_COLUMNS = (
    "position", "id", "recorded_at", "tenant", "topic", "schema_version", "stream_id", "version", "actor",
    "authenticated", "on_behalf_of", "address", "request_id", "time", "correlation_id", "causation_id", "trace_parent",
    "facts", "body_sha256", "body_length",
)  # fmt: skip
_BODY_COLUMNS = ("body", "body_base64")


def record_of(event: RecordedEvent, position: str, *, bodies: bool) -> dict[str, object]:
    """All that is known of an event. With `bodies`, its body as text (`body`) or, where it is no UTF-8, as
    `body_base64`; both null where it has none, or where it was removed (then `body_sha256` remains)."""
    metadata = event.metadata
    record: dict[str, object] = {
        "position": position, "id": event.event_id, "recorded_at": moment_text(event.recorded_at),
        "tenant": event.tenant, "topic": event.topic, "schema_version": event.facts.schema_version,
        "stream_id": str(event.originator_id), "version": event.originator_version, "actor": metadata.actor,
        "authenticated": metadata.authenticated, "on_behalf_of": metadata.on_behalf_of,
        "address": metadata.address, "request_id": metadata.request_id, "time": moment_text(metadata.time),
        "correlation_id": metadata.correlation_id, "causation_id": event.causation_id,
        "trace_parent": metadata.trace_parent, "facts": event.facts.model_dump(mode="json"),
        "body_sha256": metadata.body_sha256, "body_length": metadata.body_length,
    }  # fmt: skip
    if bodies:
        record["body"], record["body_base64"] = _body(event.body)
    return record


def header_of(form: ExportFormat, *, bodies: bool) -> bytes:
    """What stands before the first event."""
    if form != "csv":
        return b""
    return _csv_record([*_COLUMNS, *(_BODY_COLUMNS if bodies else ())])


def encoder(form: ExportFormat, position_text: Callable[[int], str], *, bodies: bool) -> Encode:
    """What writes events in a format. `InvalidInput` where what it needs is not installed."""
    lines: Mapping[ExportFormat, Callable[[dict[str, object]], bytes]] = {
        "jsonl": _json_line, "csv": _csv_line, "cloudevents": _cloud_event_line,
    }  # fmt: skip
    line = lines[form]
    if form == "cloudevents":
        _require_cloudevents()
    return lambda event: line(record_of(event, position_text(event.position), bodies=bodies))


def count_events(form: ExportFormat, lines: Iterator[str]) -> int:
    """How many events a file of this format holds."""
    if form == "csv":
        return max(0, sum(1 for _ in csv.reader(lines)) - 1)
    return sum(1 for _ in lines)


def moment_text(moment: datetime) -> str:
    """RFC 3339 in UTC, always to the microsecond: texts sort as the moments do."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def guarded(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe in front where it would."""
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell


# --- formats ---------------------------------------------------------------------------------------------------------


def _json_line(record: dict[str, object]) -> bytes:
    return canonical(record).encode() + b"\n"


def _csv_line(record: dict[str, object]) -> bytes:
    return _csv_record([_cell(value) for value in record.values()])


def _csv_record(cells: list[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow([guarded(cell) for cell in cells])
    return text.getvalue().encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else canonical(value)


def _cloud_event_line(record: dict[str, object]) -> bytes:
    from cloudevents.core.formats.json import JSONFormat  # noqa: PLC0415 - an extra: who wants another format lacks it
    from cloudevents.core.v1.event import CloudEvent  # noqa: PLC0415

    attributes = {
        "id": record["id"], "source": f"/jobledger/tenants/{record['tenant']}", "specversion": "1.0",
        "type": record["topic"], "subject": record["stream_id"], "datacontenttype": "application/json",
        "time": datetime.fromisoformat(str(record["recorded_at"])), "traceparent": record["trace_parent"],
        "tenant": record["tenant"], "position": record["position"], "correlationid": record["correlation_id"],
        "actor": record["actor"],
    }  # fmt: skip
    if record["causation_id"] is not None:
        attributes["causationid"] = record["causation_id"]
    data = {name: value for name, value in record.items() if name in _CLOUD_EVENT_DATA}
    return _json_line(json.loads(JSONFormat().write(CloudEvent(attributes, data))))


_CLOUD_EVENT_DATA = frozenset(
    {
        "facts",
        "schema_version",
        "version",
        "authenticated",
        "on_behalf_of",
        "address",
        "request_id",
        "time",
        "body_sha256",
        "body_length",
        *_BODY_COLUMNS,
    }
)
"""What has no attribute of its own."""


def _require_cloudevents() -> None:
    try:
        import cloudevents.core.v1.event  # noqa: PLC0415, F401 - an extra
    except ImportError as error:
        raise InvalidInput(
            "the package cloudevents is not installed", field="--format", rule="is installed",
            hint="pip install 'jobledger[events]', or --format jsonl",
        ) from error  # fmt: skip


def _body(body: bytes | None) -> tuple[str | None, str | None]:
    if body is None:
        return None, None
    try:
        return body.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(body).decode()
