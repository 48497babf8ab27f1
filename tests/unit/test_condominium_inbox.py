"""The example's inbox: one delivery a line; what is refused names its line, field and rule, and never a value."""

import json
from pathlib import Path
from typing import Any

import pytest

from examples.condominium.events import as_text, generate
from examples.condominium.flaws import INVALID, Kind
from examples.condominium.inbox import Delivery, Inbox
from examples.condominium.jobs import app
from jobledger.application.dispatch_item import Dispatch, Malformed
from jobledger.domain.errors import Refusal

LINES = generate(seed=7)
REFUSED_HERE = INVALID | {Kind.CROSS_TENANT_SOURCE, Kind.CROSS_TENANT_DATA, Kind.UNKNOWN_TYPE}

GOOD: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/tenants/aurora/desk",
    "type": "com.condominium.question.asked",
    "time": "2026-03-02T11:00:00Z",
    "tenant": "aurora",
    "data": {"tenant_id": "aurora", "question_id": "Q-1", "question": "What is a heisenbug?"},
}


def receive(line: bytes | dict[str, Any]) -> Delivery:
    text = line if isinstance(line, bytes) else json.dumps(line).encode()
    return Inbox(app).receive(text, 7)


def refusal_of(delivery: Delivery) -> Refusal:
    (item,) = delivery.items
    assert isinstance(item, Malformed)
    assert item.line == delivery.line
    return item.error


def test_each_line_of_the_story_becomes_one_delivery_of_the_expected_kind(tmp_path: Path) -> None:
    """Good lines become one dispatch each, deliberately bad ones one refusal, repeated events nothing."""
    path = tmp_path / "events.jsonl"
    path.write_text(as_text(LINES), encoding="utf-8")
    deliveries = list(Inbox(app).read(path))
    assert [delivery.line for delivery in deliveries] == list(range(1, len(LINES) + 1))
    for line, delivery in zip(LINES, deliveries, strict=True):
        if line.kind is Kind.DUPLICATE_EVENT:
            assert delivery.is_duplicate
            assert delivery.items == ()
        else:
            (item,) = delivery.items
            assert isinstance(item, Malformed) == (line.kind in REFUSED_HERE)
            assert item.line == delivery.line


def test_a_good_event_becomes_the_dispatch_of_its_route() -> None:
    """Type, tenant, persona and trace come from the envelope, the payload from the data without its tenant."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    (item,) = receive({**GOOD, "persona": "night-shift", "traceparent": trace}).items
    assert isinstance(item, Dispatch)
    assert (item.job_type, item.tenant, item.persona) == ("document.answer", "aurora", "night-shift")
    assert item.payload == {"question_id": "Q-1", "question": "What is a heisenbug?"}
    assert (item.correlation_id, item.causation_id, item.trace_parent, item.line) == ("e-1", "e-1", trace, 7)


def test_a_broken_trace_does_not_lose_the_event() -> None:
    """A traceparent that breaks its standard is left out, so that a new trace begins."""
    (item,) = receive({**GOOD, "traceparent": "nonsense"}).items
    assert isinstance(item, Dispatch)
    assert item.trace_parent is None


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
def test_a_required_attribute_is_missed_by_name(name: str) -> None:
    """The library would invent an id and a specversion; here each missing attribute is refused by name."""
    error = refusal_of(receive({key: value for key, value in GOOD.items() if key != name}))
    assert (error.field, error.rule) == (name, "is required by CloudEvents 1.0")


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"specversion": "2.0"}, "specversion", 'is "1.0"'),
        ({"id": ""}, "id", "is text"),
        ({"id": 5}, "id", "is text"),
        ({"time": "2026-03-02T11:00:00"}, "time", "has a time zone"),
        ({"time": "2026-03-02"}, "time", "is an RFC 3339 timestamp"),
        ({"time": "20260302T110000Z"}, "time", "is an RFC 3339 timestamp"),
        ({"time": "2026-02-31T11:00:00Z"}, "time", "is an RFC 3339 timestamp"),
        ({"time": 1_772_449_200}, "time", "is text"),
        ({"tenant": ["aurora"]}, "tenant", "is text"),
        ({"tenant": "casa-verde"}, "data.tenant_id", "source, tenant and data agree"),
        ({"source": "/tenants/casa-verde/desk"}, "source", "source, tenant and data agree"),
        ({"data": "text"}, "data", "is a JSON object"),
        ({"datacontenttype": "text/xml"}, "datacontenttype", "is application/json"),
        ({"type": "com.condominium.elevator.serviced"}, "type", "has a reaction"),
        ({"Bad-Name": 1}, "Bad-Name", "fits CloudEvents 1.0"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_field_and_rule(change: dict[str, Any], field: str, rule: str) -> None:
    """An event that breaks a rule is refused; the refusal names the attribute and the rule."""
    error = refusal_of(receive({**GOOD, **change}))
    assert (error.field, error.rule) == (field, rule)


def test_an_event_that_names_no_tenant_belongs_to_nobody() -> None:
    """Without a tenant in source, attribute or data there is nobody to run a job for."""
    nobody = {key: value for key, value in GOOD.items() if key != "tenant"} | {"source": "/elsewhere", "data": {}}
    assert refusal_of(receive(nobody)).rule == "names the tenant"


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b'{"id": "cut', "is JSON"),
        (b"[]", "is one JSON object"),
        (b"null", "is one JSON object"),
        (b'{"id": NaN}', "is JSON"),
        (b'{"id": ' + b"9" * 5_000 + b"}", "is JSON"),
        (b"[" * 100_000, "is JSON"),
        (b'{"tenant": "aurora", "tenant": "casa-verde"}', "names are unique"),
        (b"\xff\xfe", "is UTF-8"),
        (b'{"id": "\\ud800"}', "is UTF-8"),
        (b" " * 300_001, "at most 300000 bytes"),
    ],
    ids=lambda value: str(value[:24]) if isinstance(value, bytes) else None,
)
def test_a_line_that_is_no_json_object_is_refused(line: bytes, rule: str) -> None:
    """Whatever bytes arrive, the answer is a refusal of that line."""
    error = refusal_of(receive(line))
    assert (error.field, error.rule) == ("line", rule)


def test_a_refusal_never_repeats_a_value() -> None:
    """What a field holds stays with its sender."""
    for change in ({"time": "s3cret"}, {"specversion": "s3cret"}, {"datacontenttype": "s3cret"}, {"data": "s3cret"}):
        assert "s3cret" not in str(refusal_of(receive({**GOOD, **change})))


def test_the_same_event_has_an_effect_once_and_another_sender_may_use_its_id() -> None:
    """Duplicates are recognised by source and id together."""
    inbox = Inbox(app)
    first, again = (inbox.receive(json.dumps(GOOD).encode(), number) for number in (1, 2))
    assert (first.is_duplicate, again.is_duplicate) == (False, True)
    elsewhere = {**GOOD, "source": "/tenants/aurora/lobby"}
    assert not inbox.receive(json.dumps(elsewhere).encode(), 3).is_duplicate


def test_an_event_that_was_refused_may_come_again_repaired() -> None:
    """A refused line does not use up its id."""
    inbox = Inbox(app)
    inbox.receive(json.dumps({**GOOD, "time": "2026-03-02T11:00:00"}).encode(), 1)
    assert not inbox.receive(json.dumps(GOOD).encode(), 2).is_duplicate


def test_a_line_without_end_is_refused_and_the_next_one_is_read(tmp_path: Path) -> None:
    """A line longer than allowed is one refusal, however long; numbers of later lines stay right."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"x" * 1_000_000 + b"\n\n" + json.dumps(GOOD).encode())
    deliveries = list(Inbox(app).read(path))
    assert [delivery.line for delivery in deliveries] == [1, 3]
    assert refusal_of(deliveries[0]).rule == "at most 300000 bytes"
    assert isinstance(deliveries[1].items[0], Dispatch)
