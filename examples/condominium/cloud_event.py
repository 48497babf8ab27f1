"""Reads one line as a CloudEvent 1.0, strictly, and turns it into a domain event of exactly one tenant.

The `cloudevents` library checks the specification; what it lets pass is checked here: it invents a missing id, time
and specversion, takes any ISO 8601 time, and fails with an AttributeError on a line that is no JSON object. Messages
name fields and rules, never what a field holds: a refusal is read by others than its sender.
"""

import json
import re
from typing import Any

from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from jobledger import InvalidInput

from .domain_event import DomainEvent
from .routes import tenants_named

LINE_BYTES_MAX = 300_000

_REQUIRED = ("specversion", "id", "source", "type")
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?")
_TRACE_PARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_JSON_TYPE = re.compile(r"application/([\w.-]+\+)?json(;.*)?", re.IGNORECASE)


def parse_object(line: bytes) -> dict[str, Any]:
    """The JSON object that a line is. Raises InvalidInput."""
    if len(line) > LINE_BYTES_MAX:
        raise InvalidInput("the line is too long", field="line", rule=f"at most {LINE_BYTES_MAX} bytes")
    try:
        text = line.decode("utf-8")
        parsed = json.loads(text, object_pairs_hook=_without_repetition, parse_constant=_no_number)
        json.dumps(parsed, ensure_ascii=False).encode()  # half a surrogate pair is JSON, but no text
    except json.JSONDecodeError as error:
        raise InvalidInput(f"the line is not JSON (column {error.colno})", field="line", rule="is JSON") from error
    except UnicodeError as error:
        raise InvalidInput("the line is not UTF-8 text", field="line", rule="is UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput("a number is too long, or it is nested too deep", field="line", rule="is JSON") from error
    if not isinstance(parsed, dict):
        raise InvalidInput("the line is JSON, but no object", field="line", rule="is one JSON object")
    return parsed


def to_domain_event(attributes: dict[str, Any], line: int) -> DomainEvent:
    """The event in a JSON object. Raises InvalidInput, which names the attribute and the rule."""
    _check_attributes(attributes)
    event = _read(attributes)
    trace_parent = event.get_extension("traceparent")
    return DomainEvent(
        id=event.get_id(),
        source=event.get_source(),
        type=event.get_type(),
        tenant=_only_tenant(attributes),
        persona=attributes.get("persona"),
        # A broken trace must not lose an event: a new one begins (W3C Trace Context, 3.2).
        trace_parent=trace_parent if _is_trace_parent(trace_parent) else None,
        time=event.get_time() if "time" in attributes else None,
        data={name: value for name, value in attributes["data"].items() if name != "tenant_id"},
        line=line,
    )


def _check_attributes(attributes: dict[str, Any]) -> None:
    """What the library does not check, or checks too late."""
    for name in _REQUIRED:
        if name not in attributes:
            raise InvalidInput(f"{name} is missing", field=name, rule="is required by CloudEvents 1.0")
    for name in (*_REQUIRED, "time", "tenant", "persona"):
        if name in attributes and not (isinstance(attributes[name], str) and attributes[name]):
            raise InvalidInput(f"{name} is not text, or empty", field=name, rule="is text")
    if "time" in attributes and not _RFC_3339.fullmatch(attributes["time"]):
        raise InvalidInput("the time has another form", field="time", rule="is an RFC 3339 timestamp")
    if not _JSON_TYPE.fullmatch(str(attributes.get("datacontenttype", "application/json"))):
        raise InvalidInput("the data is of another type", field="datacontenttype", rule="is application/json")
    if not isinstance(attributes.get("data"), dict):
        raise InvalidInput("the data is not a JSON object", field="data", rule="is a JSON object")


def _read(attributes: dict[str, Any]) -> CloudEvent:
    try:
        event = JSONFormat().read(CloudEvent, json.dumps(attributes))
    except CloudEventValidationError as error:
        name, found = next(iter(error.errors.items()))
        raise InvalidInput(str(found[0])[:200], field=name[:80], rule=_rule(name)) from error
    except (ValueError, OverflowError) as error:
        raise InvalidInput("there is no such moment", field="time", rule="is an RFC 3339 timestamp") from error
    assert isinstance(event, CloudEvent)
    return event


def _rule(attribute: str) -> str:
    match attribute:
        case "specversion":
            return 'is "1.0"'
        case "time":
            return "has a time zone"
        case _:
            return "fits CloudEvents 1.0"


def _only_tenant(attributes: dict[str, Any]) -> str:
    """Whose event it is. What contradicts itself belongs to nobody."""
    named = tenants_named(attributes)
    if not named:
        raise InvalidInput("no tenant is named", field="tenant", rule="names the tenant")
    if len(named) > 1:
        about_data = attributes["data"].get("tenant_id") not in (None, attributes.get("tenant"))
        raise InvalidInput(
            "the event names several tenants", field="data.tenant_id" if about_data else "source",
            rule="source, tenant and data agree",
        )  # fmt: skip
    return named.pop()


def _is_trace_parent(value: object) -> bool:
    return isinstance(value, str) and _TRACE_PARENT.fullmatch(value) is not None


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two members with one name every reader takes another one: a way to smuggle."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise InvalidInput("a name stands twice in one object", field="line", rule="names are unique")
    return members


def _no_number(name: str) -> float:
    raise InvalidInput(f"{name} is no number of JSON", field="line", rule="is JSON")
