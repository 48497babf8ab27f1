"""What auditors get of an event: nothing of it is lost, and no spreadsheet runs what somebody wrote."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from jobledger.domain.audit import ExportFormat
from jobledger.domain.event import Metadata, RecordedEvent
from jobledger.domain.job import JobFailed
from jobledger.domain.topics import TOPICS
from jobledger.infrastructure.audit_formats import count_events, encoder, guarded, header_of
from jobledger.infrastructure.canonical_json import canonical
from tests.contract.support import TRACE_PARENT, job_id
from tests.support.given import ABOUT

JOB = job_id()
MOMENT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def failed(
    message: str = "no such account", body: bytes | None = b"Traceback", actor: str = "worker:w1"
) -> RecordedEvent:
    """The third event of a job, in UTC and on the second."""
    facts = JobFailed(**ABOUT, attempt=1, worker="w1", error_type="KeyError", message=message, fingerprint="f",
                      recoverable=True, seconds_running=1e-7)  # fmt: skip
    sha256 = None if body is None else hashlib.sha256(body).hexdigest()
    metadata = Metadata(correlation_id="flow-1", trace_parent=TRACE_PARENT, actor=actor, time=MOMENT,
                        body_sha256=sha256, body_length=None if body is None else len(body))  # fmt: skip
    return RecordedEvent(JOB, 3, "acme", 77, MOMENT, facts.topic, facts, metadata, body)


def written(form: ExportFormat, event: RecordedEvent, *, bodies: bool = False) -> str:
    """The line of an event."""
    return encoder(form, "memory.{}".format, bodies=bodies)(event).decode()


def cells(event: RecordedEvent, *, bodies: bool = False) -> dict[str, str]:
    """The record of an event in CSV, by the names of its columns."""
    text = header_of("csv", bodies=bodies).decode() + written("csv", event, bodies=bodies)
    (record,) = csv.DictReader(io.StringIO(text, newline=""))
    return record


def test_a_json_line_is_canonical_and_says_all() -> None:
    """Who, when, what, because of what; times to the microsecond, the position as a string."""
    line = written("jsonl", failed())
    said: dict[str, Any] = json.loads(line)
    assert line == canonical(said) + "\n"
    facts = said.pop("facts")
    assert said == {
        "position": "memory.77", "id": f"{JOB}.3", "recorded_at": "2026-03-01T09:30:00.000000Z", "tenant": "acme",
        "topic": "job.failed", "schema_version": 1, "stream_id": str(JOB), "version": 3, "actor": "worker:w1",
        "authenticated": True, "time": "2026-03-01T09:30:00.000000Z", "correlation_id": "flow-1",
        "causation_id": f"{JOB}.2", "trace_parent": TRACE_PARENT, "body_length": 9,
        "body_sha256": hashlib.sha256(b"Traceback").hexdigest(), "on_behalf_of": None, "address": None,
        "request_id": None,
    }  # fmt: skip
    assert TOPICS["job.failed"].model_validate(facts) == failed().facts
    assert '"seconds_running":1e-7' in line


@pytest.mark.parametrize(
    ("body", "text", "encoded"), [(b"caf\xc3\xa9", "caf\u00e9", None), (b"\xff", None, "/w=="), (None, None, None)]
)
def test_bodies_come_as_text_or_as_bytes(body: bytes | None, text: str | None, encoded: str | None) -> None:
    """Only for who asks for bodies; what is no UTF-8 comes as base64."""
    said = json.loads(written("jsonl", failed(body=body), bodies=True))
    assert (said["body"], said["body_base64"]) == (text, encoded)
    assert "body" not in json.loads(written("jsonl", failed(body=body)))


def test_a_cloud_event_is_one() -> None:
    """Of version 1.0, as the library reads it; the id is the event's, the facts are its data."""
    read = JSONFormat().read(CloudEvent, written("cloudevents", failed()))
    assert (read.get_id(), read.get_type(), read.get_subject()) == (f"{JOB}.3", "job.failed", str(JOB))
    assert (read.get_source(), read.get_time()) == ("/jobledger/tenants/acme", MOMENT)
    said = {name: read.get_extension(name) for name in ("tenant", "traceparent", "position", "causationid", "actor")}
    assert said == {
        "tenant": "acme", "traceparent": TRACE_PARENT, "position": "memory.77", "causationid": f"{JOB}.2",
        "actor": "worker:w1",
    }  # fmt: skip
    data = read.get_data()
    assert isinstance(data, dict) and data["facts"]["message"] == "no such account" and data["version"] == 3


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_is_a_formula(start: str) -> None:
    """An apostrophe stands in front of what a spreadsheet would run."""
    assert guarded(f"{start}cmd|'/c calc'!A1") == f"'{start}cmd|'/c calc'!A1"
    found = cells(failed(actor=f"{start}1+1", body=f"{start}2".encode()), bodies=True)
    assert (found["actor"], found["body"]) == (f"'{start}1+1", f"'{start}2")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00")))
def test_any_text_comes_back_from_csv(message: str) -> None:
    """Quotes, commas and line breaks included; facts are canonical JSON in one cell."""
    found = cells(failed(message, body=message.encode()), bodies=True)
    assert json.loads(found["facts"])["message"] == message
    assert found["body"] == guarded(message)
    assert not any(value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for value in found.values())


@pytest.mark.parametrize("form", get_args(ExportFormat))
def test_an_event_has_the_same_bytes_whenever_it_is_written(form: ExportFormat) -> None:
    """There is nothing of the export in them."""
    assert written(form, failed()) == written(form, failed())


@pytest.mark.parametrize("form", get_args(ExportFormat))
def test_events_are_counted_not_lines(form: ExportFormat) -> None:
    """A record of CSV may go over several lines, and a separator of lines in JSON is none."""
    text = header_of(form, bodies=True).decode() + 3 * written(form, failed("a\nb\u2028c", b"x\ny\r\nz"), bodies=True)
    newline = "" if form == "csv" else "\n"
    assert count_events(form, iter(io.StringIO(text, newline=newline))) == 3
